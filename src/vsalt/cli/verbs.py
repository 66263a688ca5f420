"""The verbs of the command line."""

from typing import NamedTuple


class Verb(NamedTuple):
    """A verb of the command line: where it lives and what it does in one line."""

    module: str
    function: str
    summary: str


VERBS: dict[str, Verb] = {
    "demo": Verb("demo", "demo", "the whole path on made-up videos, in minutes"),
    "salt": Verb("pretrain", "salt", "train a teacher, freeze it, train the student"),
    "pretrain": Verb("pretrain", "pretrain", "train one stage with one method"),
    "cache-targets": Verb(
        "cache_targets", "cache_targets", "write a frozen teacher's latents of fixed views"
    ),
    "resume": Verb("pretrain", "resume", "go on with a run that was stopped or killed"),
    "probe fit": Verb("probe", "fit", "fit and score a classifier on a frozen encoder"),
    "probe eval": Verb("probe", "evaluate", "score a saved classifier on labelled videos"),
    "probe predict": Verb("probe", "predict", "classify videos by a saved classifier"),
    "embed": Verb("embed", "embed", "write embeddings of clips or windows"),
    "search": Verb("search", "search", "the clips of an index that are nearest to a video"),
    "export": Verb("export", "export", "write an encoder for Hugging Face, ONNX, torch.export"),
    "import": Verb("import_weights", "import_weights", "bring in V-JEPA 2 weights from elsewhere"),
    "plan": Verb("plan_run", "plan", "propose a run for a budget, and say what it rests on"),
    "flops paper": Verb("flops", "paper", "SALT's tables of compute, computed and compared"),
    "report": Verb("report", "report", "one page of curves, pictures and probes of runs"),
    "viz": Verb("viz", "viz", "masks, reconstructions, tokens and attention as PNG, GIF or mp4"),
    "compare": Verb("compare", "compare", "methods at matched FLOPs, on clips none has seen"),
    "data synth": Verb("data", "synth", "make a small set of labelled videos of moving shapes"),
    "data check": Verb("data_check", "check", "whether videos can be read, and what they are like"),
    "data prepare": Verb("data_prepare", "prepare", "re-encode a source to small, quick videos"),
    "data pack": Verb("data_pack", "pack", "pack a source into tar shards with an index"),
    "data index": Verb("data_pack", "index", "index existing WebDataset shards"),
    "data unpack": Verb("data_pack", "unpack", "write videos of shards back into a folder"),
    "linear data": Verb("linear_data", "linear_data", "which features MAE, JEPA, SALT learn first"),
    "linear check": Verb("linear", "check", "whether theory, ODE and trained matrices agree"),
    "linear page": Verb("linear_page", "page", "a page with sliders: what is learned first"),
    "linear figures": Verb("linear_figures", "figures", "draw the figures of the linear theory"),
    "bench step": Verb("bench", "step", "how fast a training step is, and where its time goes"),
    "bench loader": Verb("bench", "loader", "how many clips per second the loader delivers"),
    "bench masks": Verb("bench", "masks", "how many masks per second are drawn"),
    "doctor": Verb("doctor", "doctor", "what is installed, whether it works, what mends it"),
    "completion": Verb("completion", "completion", "print a completion script for bash or zsh"),
}
