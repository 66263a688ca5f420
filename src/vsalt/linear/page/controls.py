"""The sliders of the page, their explanations and the four panels, as markup."""

from typing import NamedTuple


class Slider(NamedTuple):
    """A slider; its range stands in state.js under the same key.

    Attributes:
        key: name in the page's address and id of the input.
        label: HTML of the label.
        group: HTML of the fieldset's legend.
        meaning: HTML of the line that explains it; empty if another slider's line does.
    """

    key: str
    label: str
    group: str
    meaning: str = ""


SLIDERS = (
    Slider(
        "la",
        "strength λ<sub>A</sub>",
        "Feature A",
        "λ = E[y x], the covariance of a feature in what is seen and what is to be predicted. "
        "MAE and JEPA take a time in proportion to 1/λ, and so does SALT if its teacher converged.",
    ),
    Slider(
        "ra",
        "predictability ρ<sub>A</sub>",
        "Feature A",
        "ρ = λ/σ², the regression coefficient: 1 for a feature without noise, small where the "
        "variance σ² is mostly noise.",
    ),
    Slider("lb", "strength λ<sub>B</sub>", "Feature B"),
    Slider("rb", "predictability ρ<sub>B</sub>", "Feature B"),
    Slider(
        "L",
        "encoder depth L",
        "Networks",
        "The encoder’s gain is m = u<sup>L</sup>. JEPA ends at ρ<sup>L/P</sup>: depth makes it "
        "prefer predictable features.",
    ),
    Slider(
        "eps",
        "start ε",
        "Networks",
        "The encoder’s gain at the start; each layer begins at ε<sup>1/L</sup>. As ε → 0 JEPA’s "
        "order becomes that of λ; a feature with ρ<sup>L/P</sup> &lt; ε is never learned by JEPA.",
    ),
    Slider(
        "P",
        "predictor depth P",
        "Networks",
        "Layers of the predictor, or of the MAE’s decoder. A deeper one weakens the preference: "
        "final gains depend on L/P alone.",
    ),
    Slider(
        "LT",
        "teacher depth L<sub>T</sub>",
        "SALT’s teacher",
        "Converged, the teacher hands on t = ρ<sup>e</sup>, e = L<sub>T</sub>/(L<sub>T</sub>+P); "
        "from tiny starts the student then learns in the order of λ ρ<sup>e</sup>.",
    ),
    Slider(
        "stop",
        "teacher’s training",
        "SALT’s teacher",
        "Where the teacher is stopped, in per cent of the time in which it learns the last of the "
        "features: t = m<sub>MAE</sub>(stop). An early teacher hands on the strong features only.",
    ),
    Slider(
        "T",
        "time constant T",
        "EMA’s average",
        "dξ/dt = (u − ξ)/T; T = learning rate / (1 − decay). T → 0 is JEPA; a very slow average "
        "no longer tells features apart by λ.",
    ),
)

PANELS = {
    "mae": ("MAE", "predicts the data itself"),
    "jepa": ("JEPA", "predicts its own latent"),
    "salt": ("SALT", "predicts a frozen teacher’s latent"),
    "ema": ("EMA", "predicts the latent of its moving average"),
}


def controls_markup() -> str:
    """Return the fieldsets of all sliders; those of features A and B are one block."""
    groups = list(dict.fromkeys(slider.group for slider in SLIDERS))
    parts = {group: _fieldset(group) for group in groups}
    pair = "\n".join(part for group, part in parts.items() if group.startswith("Feature "))
    rest = "\n".join(part for group, part in parts.items() if not group.startswith("Feature "))
    return f'<div id="pair">\n{pair}\n</div>\n{rest}'


def _fieldset(group: str) -> str:
    sliders = "\n".join(_slider(slider) for slider in SLIDERS if slider.group == group)
    return f"<fieldset><legend>{group}</legend>\n{sliders}\n</fieldset>"


def _slider(slider: Slider) -> str:
    key = slider.key
    return (
        f'<div class="slider"><label for="{key}">{slider.label}</label>'
        f'<output id="{key}-value" for="{key}"></output>'
        f'<input type="range" id="{key}"></div>'
    )


def meanings_markup() -> str:
    """Return a name and a line for each slider that needs one."""
    return "\n".join(
        f"<div><dt>{slider.label}</dt><dd>{slider.meaning}</dd></div>"
        for slider in SLIDERS
        if slider.meaning
    )


def panels_markup() -> str:
    """Return the place of each method's curves."""
    return "\n".join(
        f"<figure><figcaption><strong>{name}</strong> {text}</figcaption>"
        f'<div id="panel-{kind}"></div><p class="note" id="note-{kind}"></p></figure>'
        for kind, (name, text) in PANELS.items()
    )
