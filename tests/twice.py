"""Run by the kernel that notebooks are tested with, before their first cell: every cell then runs
a second time, and an exercise's cells must be answered as they should.

Readers run cells again, so a cell must not undo what it needs, such as a name that it imports. One
that takes more than a few seconds is not repeated: it trains or times something.

The first cell that checks an exercise is its stub, and must not pass; the others are its solution,
and must.
"""


def repeat_cells(limit: float = 4.0) -> None:
    """From now on the shell runs each cell that ends well in `limit` seconds twice.

    The cell's result is then that of the second time. All names stay in here: the notebook's own
    are this file's globals.
    """
    from time import perf_counter

    shell = get_ipython()  # type: ignore[name-defined]  # noqa: F821  # the kernel's
    run_once = shell.run_cell_async
    stubs: dict[str, str] = {}  # exercise → the source of its stub

    async def run_checked(source, *arguments, **options):
        result = await run_once(source, *arguments, **options)
        outcome = result.result
        if type(outcome).__name__ != "Outcome":
            return result
        is_stub = stubs.setdefault(outcome.name, source) == source
        if is_stub == outcome.passed:
            what = "stub passes" if is_stub else "solution does not pass"
            source = f"raise AssertionError({f'the {what} its check: {outcome.headline}'!r})"
            if "transformed_cell" in options:
                options["transformed_cell"] = source
            return await run_once(source, *arguments, **options)
        return result

    async def run_twice(source, *arguments, **options):
        start = perf_counter()
        result = await run_checked(source, *arguments, **options)
        if not result.success or perf_counter() - start > limit:
            return result
        return await run_checked(source, *arguments, **options)

    shell.run_cell_async = run_twice


repeat_cells()
del repeat_cells
