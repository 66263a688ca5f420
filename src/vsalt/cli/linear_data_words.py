"""What the numbers of `vsalt linear data` mean, and where they mean nothing, in sentences."""

from collections.abc import Mapping
from typing import Any

Result = dict[str, Any]
"""As `vsalt.cli.linear_data_result.as_json` makes it."""
_LARGE_MISFIT = 0.1
"""Share off the diagonals above which the model is called a poor guide."""
_SAME_ORDER = 0.95
"""Spearman's correlation above which two orders of learning are called the same."""
_MANY_PADDED = 0.1
"""Share of clips that end in equal frames above which the numbers are about those frames."""


def conclusion(result: Result) -> list[str]:
    """Return what the numbers mean, in sentences."""
    agreement, methods = result["agreement"], result["methods"]
    number = result["counts"]["predictable"]
    settings = result["settings"]
    padded = settings.get("num_ending_in_equal_frames", 0)
    if padded > _MANY_PADDED * settings["num_clips"]:
        return [f"{_of_padding(settings)} Nothing is concluded from so many."]
    if agreement is None:
        return [f"Only {number} features can be predicted: too few to speak of an order."]
    spread, alike = agreement["spread"], agreement["order"]
    lines = [
        f"lambda and rho: Spearman {_signed(agreement['lambda_rho'])} over {number} features; "
        f"lambda differs by a factor of {spread['lambda']:.3g}, rho by {spread['rho']:.3g} "
        "(first to ninth decile).",
        f"The order of the MAE is that of JEPA by {_signed(alike['jepa'])} and that of SALT by "
        f"{_signed(alike['salt'])} (Spearman)"
        + (
            ": the target hardly changes what is learned first."
            if all((alike[name] or 0.0) > _SAME_ORDER for name in ("jepa", "salt"))
            else ": the target changes what is learned first."
        ),
    ]
    orders = ", ".join(
        f"{name} {_signed(methods[name]['earliness_lambda'])} / "
        f"{_signed(methods[name]['earliness_rho'])}"
        for name in ("mae", "jepa", "salt")
    )
    lines.append(f"Early goes with lambda / rho (Spearman): {orders}.")
    never = result["counts"]["predictable"] - methods["jepa"]["num_learned"]
    if never:
        lines.append(f"JEPA never learns {never} of them: their rho is below its start.")
    lines += [
        _of_stop(own["stop"]) for own in methods.values() if own.get("stop", {}).get("num_features")
    ]
    return lines


def _signed(correlation: float | None) -> str:
    return "none (all alike)" if correlation is None else f"{correlation:+.2f}"


def _of_stop(stop: Mapping[str, Any]) -> str:
    lost = stop["num_features"] - stop["num_passed_on"]
    text = (
        f"A teacher stopped with {stop['share_of_features']:.0%} of its features learned "
        f"({stop['share_of_time']:.1%} of the time for all) passes on {stop['num_passed_on']} of "
        f"{stop['num_features']}"
    )
    if not lost:
        return text + ": nothing is lost."
    passed, rho = stop["mean_rho_passed_on"], stop["mean_rho_lost"]
    kept = "" if passed is None else f" against {passed:.2f} of what it passes on"
    return (
        f"{text}; what it loses has a mean rho of {rho:.2f}{kept}. Of the {stop['num_weak']} "
        f"predictable but weak features it passes on {stop['num_weak_passed_on']}."
    )


def limits(result: Result) -> list[str]:
    """Return where the linear model stops being a guide here."""
    return [
        *_of_misfit(result),
        *_of_features(result),
        "Only means and covariances enter. Motion in unknown directions is hardly in them: a "
        "linear network cannot tell it from noise, a trained one can.",
        "Times hold for small, balanced starts in which predictor and encoder are aligned; from "
        "other starts JEPA's order blurs, that of the MAE hardly.",
    ]


def _of_misfit(result: Result) -> list[str]:
    fitted, held_out = result["misfit"], result["held_out_misfit"]
    worst = max(own["scaled_" + which] for own in (fitted, held_out) for which in ("xx", "yx"))
    return [
        f"No basis fits both matrices exactly: {fitted['off_diagonal_xx']:.1%} and "
        f"{fitted['off_diagonal_yx']:.1%} of their squares lie off the diagonal, "
        f"{fitted['scaled_xx']:.1%} and {fitted['scaled_yx']:.1%} once features are scaled alike, "
        f"{held_out['scaled_xx']:.1%} and {held_out['scaled_yx']:.1%} of pairs that the basis was "
        "not made of"
        + (": the order of weak features is a poor guide." if worst > _LARGE_MISFIT else "."),
        f"{fitted['antisymmetric']:.1%} of the squares of Sigma_yx are antisymmetric, which the "
        "model has no place for.",
    ]


def _of_features(result: Result) -> list[str]:
    counts, settings, lines = result["counts"], result["settings"], []
    left_out = counts["lambda_below_zero"] + counts["lambda_unclear"]
    if left_out:
        lines.append(
            f"{left_out} of {counts['features']} features are left out: "
            f"{counts['lambda_below_zero']} have a lambda below 0 "
            f"({result['misfit']['negative_share']:.1%} of the sum of lambda²), "
            f"{counts['lambda_unclear']} have one within two standard errors of 0."
        )
    fast = [own for own in result["features"] if own.get("change", 0) > 0.5]
    if fast:
        negative = sum(own["lambda"] < 0 for own in fast)
        lines.append(
            f"{len(fast)} features are mostly differences between the frames of a tubelet; "
            f"{negative} of them have a lambda below 0. What moves is in them, and the model has "
            "nothing to say of those."
        )
    if counts["rho_above_one"]:
        lines.append(
            f"{counts['rho_above_one']} features have a rho above 1: y varies more than x there, "
            "and is not another view of the same thing."
        )
    if settings.get("num_ending_in_equal_frames"):
        lines.append(_of_padding(settings))
    return lines


def _of_padding(settings: Mapping[str, Any]) -> str:
    return (
        f"{settings['num_ending_in_equal_frames']} of {settings['num_clips']} clips end in equal "
        "frames, as those of videos do that are shorter than a clip. That makes rho too large; "
        "fewer or closer frames help (--clip.num-frames, --clip.frame-step)."
    )
