"""Run by the kernel that notebooks are tested with, before their first cell: every cell then runs
a second time.

Readers run cells again, so a cell must not undo what it needs, such as a name that it imports. One
that takes more than a few seconds is not repeated: it trains or times something.
"""


def repeat_cells(limit: float = 4.0) -> None:
    """From now on the shell runs each cell that ends well in `limit` seconds twice.

    The cell's result is then that of the second time. All names stay in here: the notebook's own
    are this file's globals.
    """
    from time import perf_counter

    shell = get_ipython()  # type: ignore[name-defined]  # noqa: F821  # the kernel's
    run_once = shell.run_cell_async

    async def run_twice(*arguments, **options):
        start = perf_counter()
        result = await run_once(*arguments, **options)
        if not result.success or perf_counter() - start > limit:
            return result
        return await run_once(*arguments, **options)

    shell.run_cell_async = run_twice


repeat_cells()
del repeat_cells
