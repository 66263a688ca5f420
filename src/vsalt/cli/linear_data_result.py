"""What `vsalt linear data` found, as JSON has it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vsalt import __version__
from vsalt.cli.linear_data_words import Result, conclusion, limits

if TYPE_CHECKING:
    import numpy as np

    from vsalt.linear.estimate import Estimate, Misfit
    from vsalt.linear.forecast import Forecast


def as_json(
    settings: Mapping[str, Any],
    estimate: "Estimate",
    forecasts: "Sequence[Forecast]",
    *,
    shrunk: tuple[int, int, int] | None,
) -> Result:
    """Return all that was found.

    Args:
        settings: where the pairs came from.
        estimate: lambda and rho.
        forecasts: of its predictable features.
        shrunk: (t, h, w) of a tubelet, to describe features in pixels.
    """
    result: Result = {
        "vsalt": __version__,
        "settings": dict(settings),
        "misfit": _misfit(estimate.misfit),
        "held_out_misfit": None if estimate.held_out is None else _misfit(estimate.held_out),
        "kept_variance": estimate.kept_variance,
        "features": _features(estimate, forecasts, shrunk),
        "agreement": _agreement(estimate, forecasts),
        "methods": {own.name: _method(own, estimate) for own in forecasts},
    }
    result["counts"] = _counts(result["features"])
    result["conclusion"] = conclusion(result)
    result["limits"] = limits(result)
    return result


def _misfit(misfit: "Misfit") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(misfit)


def _features(
    estimate: "Estimate", forecasts: "Sequence[Forecast]", shrunk: tuple[int, int, int] | None
) -> list[dict[str, Any]]:
    import numpy as np

    predictable = estimate.is_predictable()
    columns: dict[str, Any] = {
        "lambda": estimate.lambda_,
        "rho": estimate.rho,
        "variance": estimate.variance,
        "variance_share": estimate.variance / estimate.variance.sum() * estimate.kept_variance,
    }
    if estimate.lambda_error is not None and estimate.rho_error is not None:
        columns |= {"lambda_error": estimate.lambda_error, "rho_error": estimate.rho_error}
    if shrunk is not None:
        from vsalt.evaluation.tubelet_looks import looks

        found = looks(estimate.basis, shrunk)
        columns |= {"change": found.change, "colour": found.colour, "cycles": found.cycles}
    features: list[dict[str, Any]] = [
        {name: float(values[index]) for name, values in columns.items()}
        | {"predictable": bool(predictable[index])}
        for index in range(len(predictable))
    ]
    for place, index in enumerate(np.flatnonzero(predictable)):
        ranks = {own.name: own.ranks[place] for own in forecasts}
        times = {own.name: _finite(own.times[place]) for own in forecasts}
        features[index] |= {"rank": ranks, "time": times}
    return features


def _finite(value: float) -> float | None:
    import math

    return float(value) if math.isfinite(value) else None


def _counts(features: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return {
        "features": len(features),
        "predictable": sum(own["predictable"] for own in features),
        "lambda_below_zero": sum(own["lambda"] < 0 for own in features),
        "lambda_unclear": sum(not own["predictable"] and own["lambda"] >= 0 for own in features),
        "rho_above_one": sum(own["predictable"] and own["rho"] > 1 for own in features),
    }


def _agreement(estimate: "Estimate", forecasts: "Sequence[Forecast]") -> dict[str, Any] | None:
    """Return how alike lambda and rho, and the orders of learning, are; None for few features.

    Spearman's correlation of lambda and rho, and of the MAE's order with all others (None where one
    has no order, as where nothing is ever learned); and by what
    factor the features at the ninth decile exceed those at the first.
    """
    import numpy as np

    from vsalt.linear.measures import order_correlation

    problem = estimate.problem()
    if len(problem) < 3:
        return None
    mae, *others = forecasts
    deciles = {
        name: np.quantile(values, [0.1, 0.9])
        for name, values in (("lambda", problem.lambda_), ("rho", problem.rho))
    }
    return {
        "lambda_rho": _finite(order_correlation(problem.lambda_, problem.rho)),
        "order": {own.name: _finite(order_correlation(mae.times, own.times)) for own in others},
        "spread": {name: float(high / low) for name, (low, high) in deciles.items()},
    }


def _method(own: "Forecast", estimate: "Estimate") -> dict[str, Any]:
    import numpy as np

    problem = estimate.problem()
    learned = np.isfinite(own.times)
    result: dict[str, Any] = {
        "num_learned": int(learned.sum()),
        "earliness_lambda": own.earliness(problem.lambda_),
        "earliness_rho": own.earliness(problem.rho),
        "first_time": _finite(float(own.times.min())),
        "last_time": float(own.times[learned].max()) if learned.any() else None,
    }
    if own.stop is not None:
        passed = own.stop.passed_on
        weak = is_predictable_but_weak(problem.lambda_, problem.rho)
        result |= {
            "stop": {
                "share_of_features": own.stop.share,
                "share_of_time": own.stop.time_share,
                "num_passed_on": int(passed.sum()),
                "num_features": len(passed),
                "mean_rho_passed_on": _mean(problem.rho[passed]),
                "mean_rho_lost": _mean(problem.rho[~passed]),
                "num_weak": int(weak.sum()),
                "num_weak_passed_on": int((weak & passed).sum()),
                "passed_on": passed.tolist(),
            }
        }
    return result


def is_predictable_but_weak(lambda_: "np.ndarray", rho: "np.ndarray") -> "np.ndarray":
    """Return which features have a rho above the median and a lambda below it."""
    import numpy as np

    return np.asarray((rho > np.median(rho)) & (lambda_ < np.median(lambda_)))


def _mean(values: "np.ndarray") -> float | None:
    return float(values.mean()) if len(values) else None
