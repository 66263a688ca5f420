"""The rules of tests/conftest.py hold for a suite of made-up tests."""

import shutil
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CONFTEST = Path(__file__).parents[1] / "conftest.py"

SKIPS = """
    import pytest

    @pytest.mark.skip(reason="no such codec")
    def test_other_reason(): ...

    @pytest.mark.skip(reason="needs CUDA 12 or newer")
    def test_cuda_reason(): ...

    @pytest.mark.xfail(reason="known", strict=True)
    def test_expected_failure():
        raise AssertionError

    def test_real_videos(test_data): ...
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv("VSALT_TEST_DATA", raising=False)
    monkeypatch.delenv("VSALT_NO_SKIP", raising=False)
    shutil.copy(CONFTEST, pytester.path / "conftest.py")
    return pytester


def test_skips_are_allowed_by_default(suite: pytest.Pytester) -> None:
    suite.makepyfile(SKIPS)
    result = suite.runpytest_subprocess("-rs")
    result.assert_outcomes(skipped=3, xfailed=1)
    result.stdout.fnmatch_lines("*real videos: set VSALT_TEST_DATA*")


def test_no_skip_allows_only_what_needs_cuda(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VSALT_NO_SKIP", "1")
    suite.makepyfile(SKIPS)
    result = suite.runpytest_subprocess()
    # A skip in a fixture is a failure of the set-up, which pytest counts as an error.
    result.assert_outcomes(failed=0, errors=2, skipped=1, xfailed=1)
    result.stdout.fnmatch_lines("*allows no skip: Skipped: no such codec*")


def test_no_skip_refuses_a_skipped_module(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VSALT_NO_SKIP", "1")
    suite.makepyfile("import pytest\npytest.importorskip('no_such_package')\ndef test_it(): ...")
    result = suite.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines("*allows no skip: *no_such_package*")


def test_data_folder_that_is_missing_fails(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VSALT_TEST_DATA", str(suite.path / "absent"))
    suite.makepyfile("def test_it(test_data): ...")
    result = suite.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines("*is not a folder*")


def test_torch_runs_on_one_thread_in_every_test(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import torch

        def test_first():
            assert torch.get_num_threads() == 1
            torch.set_num_threads(2)

        def test_second():
            assert torch.get_num_threads() == 1
        """
    )
    suite.runpytest_subprocess().assert_outcomes(passed=2)


def test_wrong_shape_is_refused(suite: pytest.Pytester) -> None:
    package = suite.mkpydir("vsalt")
    (package / "shapes.py").write_text(
        "import numpy\n"
        "from jaxtyping import Float\n"
        "def total(a: Float[numpy.ndarray, 'n'], b: Float[numpy.ndarray, 'n']) -> float:\n"
        "    return float((a + b).sum())\n"
    )
    suite.makepyfile(
        """
        import sys
        sys.path.insert(0, ".")
        import numpy
        import pytest
        from jaxtyping import TypeCheckError
        from vsalt.shapes import total

        def test_it():
            assert total(numpy.ones(3), numpy.ones(3)) == 6
            with pytest.raises(TypeCheckError):
                total(numpy.ones(3), numpy.ones(1))
        """
    )
    suite.runpytest_subprocess().assert_outcomes(passed=1)
