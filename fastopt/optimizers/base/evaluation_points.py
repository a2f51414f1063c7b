"""EvaluationPoints: the methods that move the parameters in a `with` block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from fastopt._checks import at_least_0, flag
from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.optimizers.base.arguments import Grads
from fastopt.optimizers.base.attributes import Attributes
from fastopt.optimizers.base.points import ascent, averages
from fastopt.optimizers.base.points.lookahead import point


class EvaluationPoints(Attributes):
    """The methods of an optimizer that move its parameters in a `with` block."""

    @property
    def looks_ahead(self) -> bool:
        """Whether gradients must be taken inside `extrapolated`."""
        return any(self._lookahead(group.options) for group in self._parameters.groups)

    @contextmanager
    def extrapolated(self) -> Iterator[None]:
        """Move the parameters to Nesterov's look-ahead point w - momentum * buffer, temporarily.

        On leaving the block the parameters are restored, bit for bit::

            with opt.extrapolated():
                grads = gradient(w)
            opt.step(grads)

        Yields
        ------
        None

        Raises
        ------
        FastoptError
            The rule takes its gradients at the parameters; only ``nesterov="lookahead"`` and the
            textbook's Nesterov take them at the look-ahead point.
        """
        if not self.looks_ahead:
            raise FastoptError(
                f"{type(self).__name__} takes gradients at the parameters themselves; "
                "extrapolated() is for SGD(nesterov='lookahead')"
            )
        points = (
            (w, point(w, self._float8, self._parameters.arrays[key], *ahead))
            for group in self._parameters.groups
            if (ahead := self._lookahead(group.options)) is not None
            for key, w in group.arrays.items()
        )
        with (
            self._plan.during("extrapolated()") as moving,
            self._moved("extrapolated()", points),
        ):
            moving.release()
            yield
            self._ahead.taken_at = self._plan.counts.steps

    @property
    def has_averages(self) -> bool:
        """Whether there are averages over steps, which `averaged` puts into the parameters."""
        return any(self._extras[name] is not None for name in averages.OPTIONS) or any(
            self._average(group.options) is not None for group in self._parameters.groups
        )

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Replace the parameters by their averages over steps, temporarily.

        The averages are those of the rule if it has any, as `fastopt.ScheduleFreeSGD` does, else
        those of `ema_decay`, or the slow weights of `lookahead_steps`.  They are rounded to the
        dtype of the parameters.  On leaving the block the parameters are restored, bit for bit.
        Inside the block, steps, saving, loading and copying raise an error.

        Yields
        ------
        None

        Raises
        ------
        FastoptError
            There are no averages, or the call is inside `averaged`, `extrapolated` or `perturbed`.

        Examples
        --------
        >>> import numpy as np, fastopt
        >>> w = np.zeros(2)
        >>> opt = fastopt.SGD(w, lr=1.0, ema_decay=0.5)
        >>> opt.step(np.array([-4.0, 8.0]))
        >>> with opt.averaged():
        ...     print(w)
        [ 2. -4.]
        >>> w
        array([ 4., -8.])
        """
        if not self.has_averages:
            averages.require_ema(self._extras)
        points = averages.points(self._parameters, self._extras)
        with self._plan.during("averaged()") as moving, self._moved("averaged()", points):
            moving.release()
            yield

    @contextmanager
    def perturbed(
        self, rho: float, grads: Grads = None, *, adaptive: bool = False
    ) -> Iterator[None]:
        """Move the parameters uphill to w + rho * g/|g|, temporarily, where SAM takes gradients.

        |g| is the norm of all gradients together.  On leaving the block the parameters are
        restored, bit for bit.  With every rule, this is sharpness-aware minimization::

            with opt.perturbed(0.05, gradient(w)):
                grads = gradient(w)
            opt.step(grads)

        Parameters
        ----------
        rho
            The distance, >= 0; 0.05 in the paper.
        grads
            As for `step`, but dense.  A parameter whose gradient is None stays where it is.
            Without this argument, the accumulated gradients are used, and then discarded; if there
            are none, the gradients given to `bind`.
        adaptive
            Whether to move to w + rho * w^2 * g/norm(w*g), elementwise (ASAM): parameters that
            are large move far.  Default False.

        Yields
        ------
        None

        Raises
        ------
        FastoptError, TypeError
            As from `step` for the gradients; rho is negative; or the call is inside `averaged`,
            `extrapolated` or `perturbed`.

        Notes
        -----
        The direction is that in which the objective gets worse: with `maximize` it is -g.  It does
        not depend on `grad_scale` and clipping.  If all gradients are 0, no parameter moves.  A NaN
        in a gradient makes all parameters NaN inside the block.

        Inside the block, steps, saving, loading and copying raise an error, as in `averaged`.

        References
        ----------
        Foret et al. 2021, Sharpness-aware minimization, eq. 2 and Algorithm 1 (arXiv 2010.01412).
        Kwon et al. 2021, ASAM, eq. 6 with T_w = diag(abs(w)) (arXiv 2102.11600).

        Examples
        --------
        >>> import numpy as np, fastopt
        >>> w = np.array([3.0, -4.0])
        >>> opt = fastopt.SGD(w, lr=0.5)
        >>> with opt.perturbed(1.0, 2 * w):
        ...     print(w)
        ...     grads = 2 * w
        [ 3.6 -4.8]
        >>> opt.step(grads)
        >>> w
        array([-0.6,  0.8])
        """
        rho = at_least_0("rho", rho)
        adaptive = flag("adaptive", adaptive)
        with self._plan.during("perturbed()") as moving:
            self._excursion.require_back()
            mains = self._mains()
            found = self._gradients_at_hand(grads)
            if adaptive:
                found = [
                    None if grad is None else ascent.scaled(main, grad)
                    for main, grad in zip(mains, found, strict=True)
                ]
            norm = self._plan.norm_of(tuple(found))
            signs = {
                key: -1.0 if group["maximize"] else 1.0
                for group in self._parameters.groups
                for key in group.arrays
            }
            points = (
                (w, ascent.point(main, grad, norm, signs[key] * rho, adaptive))
                for (key, w), main, grad in zip(
                    self._parameters.by_key().items(), mains, found, strict=True
                )
                if grad is not None and norm != 0.0
            )
            with self._moved("perturbed()", points):
                if grads is None:
                    self._accumulated.sums = {}
                moving.release()
                yield

    def _mains(self) -> list[Array]:
        """Return the array that a step updates for each parameter: its master or itself."""
        arrays = self._parameters.arrays
        return [arrays[key].get("master", w) for key, w in self._parameters.by_key().items()]

    def _gradients_at_hand(self, grads: Grads) -> list[Array | None]:
        """Return the gradients that ``step(grads)`` would use, in the order of the parameters."""
        sums = self._accumulated.sums
        if sums and grads is not None:
            raise FastoptError("gradients have been accumulated; accumulate these too, or step()")
        if sums:
            return [sums.get(key) for key in self._parameters.by_key()]
        if grads is None:
            if self._plan.gradients is None:
                raise FastoptError(
                    "perturbed(rho) without gradients needs accumulate(grads) or bind(grads) first"
                )
            return list(self._plan.gradients)
        return self._plan.as_arrays(grads)

    @contextmanager
    def _moved(self, block: str, points: Iterable[tuple[Array, Array]]) -> Iterator[None]:
        """Replace the parameters in a block, in which a step raises an error."""
        with self._excursion.visit(block, self._parameters.by_key().values(), points):
            self._status.changes.append(True)  # the next step calls _prepare, which raises an error
            yield
