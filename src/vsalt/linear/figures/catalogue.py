"""All figures, in order."""

from vsalt.linear.figures import (
    collapse,
    conflicts,
    critical_times,
    data_models,
    learning_curves,
    moving_averages,
    rho_exponents,
    rounds,
    sets,
    stopped_teachers,
    trained_networks,
)
from vsalt.linear.figures.figure import FigureSpec

FIGURES: dict[str, FigureSpec] = {
    module.SPEC.name: module.SPEC
    for module in (
        sets,
        learning_curves,
        trained_networks,
        critical_times,
        rho_exponents,
        conflicts,
        rounds,
        stopped_teachers,
        moving_averages,
        data_models,
        collapse,
    )
}
