from typing import Final

from remit.client import DecisionUnavailable, MalformedQuestion
from remit.console.forms import Input, errors_at, missing
from remit.console.pages.ask.explain import WHEN, grounds_of, time_of, unanswered, view_of
from remit.console.pages.ask.grounds import of_reach
from remit.console.view import View, WebPage
from remit.console.visit import BadInputError, Visit

_INPUTS: Final = (
    Input("c", "Work in namespace", "acme.data", "caller"),
    Input("o", "Uses what is owned by", "acme.finance", "owner"),
    Input("r", "By relation", "SUBFLOW", "relation", list="relations"),
    *WHEN,
)
_TITLE: Final = "Explain reach"


async def show(visit: Visit) -> View:
    """One question of the reach plane, now or in the past, and why it is answered so."""
    caller, owner, relation = visit.text("c"), visit.text("o"), visit.text("r")
    if not (caller and owner and relation):
        return view_of(visit, _TITLE, _INPUTS, errors=missing(_INPUTS, visit.query, "c", "o", "r"))
    question = f"{caller} · {relation} · {owner}"
    words = [visit.tenant, caller, owner, relation]
    try:
        at_us = time_of(visit)
        if at_us:
            past = await visit.about.explain_past_reach(caller, owner, relation, time_us=at_us)
            command = ["audit", "explain-reach", *words, "--at", visit.text("at")]
            return view_of(visit, _TITLE, _INPUTS, question, grounds_of(visit.tenant, past.answers), command=command)
        answer = await visit.about.with_terms(revision=await visit.revision()).explain_reach(caller, owner, relation)
    except (MalformedQuestion, BadInputError) as refusal:
        return view_of(visit, _TITLE, _INPUTS, errors=errors_at(_INPUTS, visit, refusal))
    except DecisionUnavailable as error:
        return unanswered(visit, _TITLE, _INPUTS, question, error)
    return view_of(visit, _TITLE, _INPUTS, question, [of_reach(visit.tenant, answer)], command=["reach", *words])


PAGE: Final = WebPage("explain-reach", "/t/{tenant}/explain-reach", "Explain reach", show, "Ask")
