"""Options that would change nothing are refused, rather than ignored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from cvtool.cli.repeat import given_names
from cvtool.errors import UsageError

if TYPE_CHECKING:
    from cvtool.fool.options import FoolOptions
    from cvtool.saliency.options import SaliencyOptions

Options = TypeVar("Options", "SaliencyOptions", "FoolOptions")
Uses = Mapping[str, frozenset[str]]
"""Name of a method → fields of its options that it looks at, of those that not all methods do."""


def refuse_without_effect(
    context: typer.Context, names: Collection[str], where: str, advice: str = "Leave it out."
) -> None:
    """Refuse the first of some parameters that was given all the same; "off" has no effect anywhere.

    Raises:
        UsageError: names it, `where` it has no effect, and the advice.
    """
    given = given_names(context).intersection(names)
    for parameter in context.command.params:
        if parameter.name in given and context.params[parameter.name] != "off":
            raise UsageError(f"{max(parameter.opts, key=len)} has no effect {where}. {advice}")


def refuse_unused(
    context: typer.Context, parameters: Mapping[str, str], chosen: Collection[str], uses: Callable[[], Uses]
) -> None:
    """Refuse an option that was given, but that none of the chosen methods looks at.

    Args:
        context: of the running command.
        parameters: parameter → field of the options, of those that not all methods look at.
        chosen: names of methods.
        uses: what each looks at; asked only if need be, since it loads torch.

    Raises:
        UsageError: names the methods that the option is for.
    """
    given = [name for name in parameters if name in given_names(context)]
    found = uses() if given else {}
    for name in given:
        able = [method for method, used in found.items() if parameters[name] in used]
        if not set(able) & set(chosen):
            where = f"with --method {', '.join(chosen)}"
            refuse_without_effect(context, (name,), where, f"Leave it out, or choose of {', '.join(able)}.")


def unused(uses: Uses, method: str) -> frozenset[str]:
    """Fields that other methods look at, and this one does not."""
    return frozenset().union(*uses.values()) - uses[method]


def without_unused(options: Options, uses: Uses) -> Options:
    """The options with the defaults of what their method does not look at: the result is the same, its record true."""
    names = unused(uses, options.method.value)
    defaults: dict[str, Any] = {each.name: each.default for each in fields(options) if each.name in names}
    return replace(options, **defaults)
