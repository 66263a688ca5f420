"""The pages do what they say: marked blocks run, the others are commands that vsalt knows."""

from pathlib import Path

import pytest

from support.command_blocks import line_problems, vsalt_lines
from support.pages import ROOT, Block, files, mark_problems, pages, read_blocks
from support.run_page import run_page

BLOCKS: dict[str, list[Block]] = {
    str(page.relative_to(ROOT)): read_blocks(page.read_text(encoding="utf-8")) for page in pages()
}
FAST_LIMIT_S = 240
SLOW_LIMIT_S = 900


def _with(page_has: str) -> list[str]:
    chosen = {
        "shell": lambda block: block.is_shell,
        "fast": lambda block: block.kind == "run" and not block.is_slow,
        "slow": lambda block: block.is_slow,
    }[page_has]
    return [page for page, blocks in BLOCKS.items() if any(map(chosen, blocks))]


def test_all_pages_are_read() -> None:
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/index.md"} <= set(BLOCKS)
    assert any(page.startswith("docs/decisions/") for page in BLOCKS)
    assert sum(block.kind == "run" for blocks in BLOCKS.values() for block in blocks) > 10


@pytest.mark.parametrize("page", BLOCKS)
def test_every_block_of_commands_has_a_mark(page: str) -> None:
    problems = mark_problems(BLOCKS[page])
    assert not problems, "\n".join(f"{page}, {problem}" for problem in problems)


@pytest.mark.parametrize("page", BLOCKS)
def test_settings_are_files_that_a_command_reads(page: str) -> None:
    for block in BLOCKS[page]:
        if block.language == "toml":
            assert block.kind == "file", f"{page}, line {block.line}: put <!-- file: NAME --> above"
            commands = [other.text for other in BLOCKS[page] if other.is_shell]
            read_by = (f"--config {block.detail}", f"vsalt compare {block.detail}")
            assert any(words in text for text in commands for words in read_by)


@pytest.mark.parametrize("page", _with("shell"))
def test_commands_that_are_not_run_are_ours(page: str, tmp_path: Path) -> None:
    problems = command_problems(BLOCKS[page], tmp_path)
    assert not problems, "\n\n".join(f"{page}, {problem}" for problem in problems)


@pytest.mark.parametrize("page", _with("fast"))
def test_blocks_run(page: str, tmp_path: Path) -> None:
    outcome = run_page(BLOCKS[page], tmp_path, slow=False, timeout_s=FAST_LIMIT_S)
    assert outcome.code == 0, f"{page} ended with {outcome.code}:\n{outcome.output}"


@pytest.mark.slow
@pytest.mark.timeout(SLOW_LIMIT_S + 60)
@pytest.mark.parametrize("page", _with("slow"))
def test_slow_blocks_run(page: str, tmp_path: Path) -> None:
    outcome = run_page(BLOCKS[page], tmp_path, slow=True, timeout_s=SLOW_LIMIT_S)
    assert outcome.code == 0, f"{page} ended with {outcome.code}:\n{outcome.output}"


def command_problems(blocks: list[Block], folder: Path) -> list[str]:
    """Parse the `vsalt` lines of all blocks that `make test` does not run."""
    for name, text in files(blocks).items():
        (folder / name).write_text(text, encoding="utf-8")
    lines = [
        (block.line, words)
        for block in blocks
        if block.is_shell and (block.is_slow or not block.runs)
        for words in vsalt_lines(block.text)
    ]
    answers = line_problems([words for _, words in lines], folder) if lines else []
    return [
        f"line {number}: vsalt {' '.join(words)}\n{answer}"
        for (number, words), answer in zip(lines, answers, strict=True)
        if answer is not None
    ]


# --- the checks can fail -------------------------------------------------------------------------


def _page(text: str, mark: str = "show: a reason", language: str = "sh") -> list[Block]:
    return read_blocks(f"# Page\n\n<!-- {mark} -->\n```{language}\n{text}\n```\n")


WRONG = {
    "vsalt salt --data videos --out run --stepz 3": "--stepz",
    "vsalt embed --encoder run --data v --out e --batch-size many": "invalid",
    "vsalt embed --encoder run --data v --out e --pooling median": "invalid",
    "vsalt salt --data v --out run --preset tiny": "preset 'tiny' does not exist",
    "vsalt salt --data v --out run --steps 1:2:3": "--steps is '1:2:3'",
    "vsalt salt --data v --out run --clip.size 65 64": "65",
    "vsalt salt --data v --out run --config none.toml": "none.toml",
    "vsalt embed --encoder run --data v": "--out",
    "vsalt prob fit": "'prob' is not a verb",
    "vsalt probe fti --out x": "not a verb",
    "cd x && A=1 vsalt sault | head": "'sault' is not a verb",
    "for x in 1 2; do\n  vsalt resume run --extra $x\ndone": "--extra",
    "vsalt embed --encoder run \\\n  --data v --out e --layers one": "one",
    "echo $(vsalt complete bash)": "'complete' is not a verb",
}


def test_wrong_commands_are_found(tmp_path: Path) -> None:
    blocks = [block for command in WRONG for block in _page(command)]
    problems = command_problems(blocks, tmp_path)
    for says, problem in zip(WRONG.values(), problems, strict=True):
        assert problem.startswith("line 4: vsalt ")
        assert says in problem


def test_a_slow_block_is_parsed_and_a_quick_one_is_not(tmp_path: Path) -> None:
    assert command_problems(_page("vsalt sault", mark="run: slow"), tmp_path)
    assert not command_problems(_page("vsalt sault", mark="run"), tmp_path)


def test_right_commands_pass_and_nothing_is_done(tmp_path: Path) -> None:
    text = """\
# vsalt sault in a comment
make demo; pip install vsalt; source .venv/bin/activate
vsalt --help
vsalt probe fit --help
vsalt demo --out demo
CUDA_VISIBLE_DEVICES=0 vsalt salt --data $VIDEOS/a.csv@2 --data "${MORE} b" --out run 2> log >out &
vsalt salt --data v --out run --config it.toml --student.optim.lr 5e-4   # vsalt sault
vsalt pretrain --method salt --teacher t --data v --out "run 2" && vsalt resume "run 2" 2>&1 | tail
for seed in 0 1; do vsalt salt --data v --out run-$seed --seed $seed; done
vsalt data synth videos -n 24
vsalt data pack videos shards
vsalt probe eval --probe p --encoder e --data d < /dev/null
eval "$(vsalt completion bash)"
"""
    page = read_blocks(
        f"<!-- file: it.toml -->\n```toml\nseed = 7\n```\n<!-- show: x -->\n```sh\n{text}```\n"
    )
    assert len(vsalt_lines(page[1].text)) == 11
    assert command_problems(page, tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["it.toml"]


def test_a_wrong_file_of_settings_is_found(tmp_path: Path) -> None:
    page = read_blocks(
        "<!-- file: it.toml -->\n```toml\nsede = 7\n```\n"
        "<!-- show: x -->\n```sh\nvsalt salt --data v --out run --config it.toml\n```\n"
    )
    (problem,) = command_problems(page, tmp_path)
    assert "sede is not a setting; did you mean seed?" in problem


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("```sh\nvsalt --help\n```\n", "line 1: a block of commands has no mark"),
        ("<!-- run -->\ntext\n\n```bash\nls\n```\n", "line 4: a block of commands has no mark"),
        ("<!-- show -->\n```sh\nls\n```\n", "line 2: say why"),
        ("<!-- run: fast -->\n```sh\nls\n```\n", "line 2: run: fast is no mark"),
        ("<!-- run -->\n```text\nls\n```\n", "line 2: a block of text cannot run"),
        ("<!-- show: x -->\n```toml\nls\n```\n", "line 2: show is for"),
        ("1. one\n\n    ```console\n    ls\n    ```\n", "line 3: a block of commands has no mark"),
    ],
)
def test_a_missing_or_wrong_mark_is_found(page: str, says: str) -> None:
    (problem,) = mark_problems(read_blocks(page))
    assert says in problem


def test_marks_are_read() -> None:
    text = "<!-- run -->\n\n```sh\nls\n```\n\n```text\nx\n```\n<!-- setup\nmkdir a\n-->\n"
    blocks = read_blocks(text)
    assert blocks == [
        Block(3, "sh", "ls", "run"),
        Block(7, "text", "x"),
        Block(10, "sh", "mkdir a", "setup"),
    ]
    assert not mark_problems(blocks)


def test_a_page_runs_in_order_in_one_shell_and_one_folder(tmp_path: Path) -> None:
    page = read_blocks(
        "<!-- setup\nmkdir made\n-->\n"
        "<!-- run -->\n```sh\ncd made\nvsalt --version > version.txt\n```\n"
        "<!-- file: given.csv -->\n```text\na,b\n```\n"
        "<!-- run -->\n```python\nfrom pathlib import Path\n```\n"
        "<!-- run -->\n```python\nprint(Path('version.txt').read_text() + 'from Python')\n```\n"
        "<!-- run: slow -->\n```sh\necho slow\n```\n"
        "<!-- run -->\n```sh\ncat ../given.csv; echo ${VSALT_TEST_DATA-unset}\n```\n"
    )
    outcome = run_page(page, tmp_path, slow=False, timeout_s=60)
    assert outcome.code == 0, outcome.output
    said = [line for line in outcome.output.splitlines() if not line.startswith("---")]
    assert [line.partition(" ")[0] for line in said] == ["vsalt", "from", "a,b", "unset"]


@pytest.mark.parametrize("command", ["false", "false | true", "echo $UNKNOWN", "exit 3"])
def test_a_page_fails_at_its_first_error(command: str, tmp_path: Path) -> None:
    outcome = run_page(_page(f"{command}\necho after", "run"), tmp_path, slow=False, timeout_s=60)
    assert outcome.code not in (0, None)
    assert "--- line 4" in outcome.output
    assert "after" not in outcome.output


def test_a_page_that_hangs_is_stopped(tmp_path: Path) -> None:
    page = _page("echo begun; sleep 600", "run")
    outcome = run_page(page, tmp_path, slow=False, timeout_s=1)
    assert outcome.code is None
    assert "begun" in outcome.output
