"""A run as a notebook shows it: a line that says what it is, and its scores by tag."""

from __future__ import annotations

from html import escape

from compbench.core.errors import RunError, UsageError
from compbench.core.printable import printable
from compbench.store.run import Run
from compbench_analysis.frames import tables
from compbench_analysis.frames.pivot import pivot
from compbench_analysis.frames.signature import partial
from compbench_analysis.text.format import metric_heading, percent
from compbench_analysis.text.render import count

__all__ = ["shown"]


def shown(run: Run) -> str:
    """HTML of metrics down and tags across, in percent with 95 % intervals; of a damaged run, what is wrong."""
    try:
        rows = [row for row in tables.plain_rows(tables.tidy(run)) if row["value"] is not None]
        n_done = len(run.done())
        about = partial(run) or f"{count(n_done)} examples measured"
    except (RunError, UsageError) as error:
        return f"<p><code>{_text(run.path)}</code>: {_text(error)}</p>"
    head = f"<p><b>{_text(run.key.task)} / {_text(run.key.model)}</b>: {_text(about)}</p>"
    if not rows:
        return head
    cells = pivot(
        rows,
        lambda row: str(row["metric"]),
        lambda row: (str(row["tag"]), int(row["n"])),
        lambda row: percent(row["value"], row["low"], row["high"]),
    )
    names = "".join(f"<th>{_text(tag)} ({count(n)})</th>" for tag, n in cells.across)
    chance = {row["metric"]: percent(row["chance"]) for row in rows if row["tag"] == tables.OVERALL}
    body = "".join(
        f"<tr><th>{_text(metric_heading(metric))}, %</th>"
        + "".join(f"<td>{value}</td>" for value in values)
        + f"<td>{chance.get(metric, percent(None))}</td></tr>"
        for metric, values in zip(cells.down, cells.lines(percent(None)), strict=True)
    )
    return (
        f"{head}<table><thead><tr><th>score</th>{names}<th>random chance</th></tr></thead><tbody>{body}</tbody></table>"
    )


def _text(value: object) -> str:
    return escape(printable(str(value)))
