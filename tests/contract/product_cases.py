"""Cases of Fourier transforms, complex numbers, distances, matrices, quantization and losses; further spellings."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from rule_models import Function, checked
from torch import Tensor, nn

aten = torch.ops.aten
Case = Function | nn.Module | tuple[Function, dict[str, Tensor]]


def spectrum(x: Tensor) -> Tensor:
    """Complex numbers that are not too special."""
    return torch.complex(x, x * x)


def apart(z: Tensor) -> Tensor:
    """Real and imaginary parts behind each other in space."""
    return torch.cat([z.real, z.imag], 2)


def transform(call: str, **options: Any) -> Function:
    """A Fourier transform of real numbers, or back from the spectrum of some, which its counterpart gives."""
    source = {"hfft": "ihfft", "irfft": "rfft"}.get(call.rstrip("2n"))

    def function(x: Tensor, y: Tensor) -> Tensor:
        kind = call[len(call.rstrip("2n")) :]
        given = (
            getattr(torch.fft, source + kind)(x, **options)
            if source
            else spectrum(x)
            if "if" in call and "h" not in call
            else x
        )
        made = getattr(torch.fft, call)(given, **options)
        return apart(made) if made.is_complex() else made

    return function


TRANSFORMS = {
    f"{call}{rank}": transform(f"{call}{rank}", **options)
    for call in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
    for rank, options in {"": {}, "2": {}, "n": {"dim": (2, 3)}}.items()
    if call + rank != "hfft"  # below a dispatch mode, PyTorch 2.13 forgets to conjugate there
}
SPECTRA: dict[str, Case] = TRANSFORMS | {
    "fft of channels": lambda x, y: torch.fft.fft(x, dim=1).abs(),
    "fft padded": lambda x, y: torch.fft.fft(x, 6, dim=2).real,
    "fftn of the last two": lambda x, y: torch.fft.fftn(x, s=(4, 6)).real,
    "fftshift": lambda x, y: torch.fft.fftshift(x, 2),
    "ifftshift": lambda x, y: torch.fft.ifftshift(x, (2, 3)),
    "fftfreq": lambda x, y: x + torch.fft.fftfreq(4),
    "rfftfreq": lambda x, y: x[..., :3] + torch.fft.rfftfreq(4),
    "stft": lambda x, y: torch.stft(
        x.flatten(2).flatten(0, 1), 8, window=torch.hann_window(8).to(x), return_complex=True
    ).abs().unflatten(0, (2, -1)),
    "istft": lambda x, y: torch.istft(
        torch.stft(x.flatten(2).flatten(0, 1), 8, window=torch.hann_window(8).to(x), return_complex=True),
        8, window=torch.hann_window(8).to(x),
    ).unflatten(0, (2, -1)),
    "view_as_complex": lambda x, y: torch.view_as_complex(x.unflatten(3, (2, 2)).contiguous()).abs(),
    "view_as_real": lambda x, y: torch.view_as_real(torch.polar(x, y)),
    "imag": lambda x, y: torch.polar(x, y).imag,
    "angle of complex numbers": lambda x, y: torch.complex(x, y).angle(),
    "conj": lambda x, y: (torch.complex(x, y).conj() * torch.polar(x, y)).real,
    "conj of real numbers": lambda x, y: aten.conj.default(x),
    "conj_physical": lambda x, y: torch.conj_physical(torch.complex(x, y)).imag,
    "resolve_conj": lambda x, y: torch.complex(x, y).conj().resolve_conj().imag,
    "resolve_neg": lambda x, y: torch.complex(x, y).conj().imag.resolve_neg(),
    "complex weight": (
        lambda x, y, w: torch.einsum("nchw,co->nohw", torch.fft.fft2(x), torch.view_as_complex(w)).abs(),
        {"w": torch.randn(4, 5, 2)},
    ),
    "complex weight of two": (
        lambda x, y, a, b: (torch.complex(x, y).movedim(1, 3) @ torch.complex(a, b)).abs(),
        {"a": torch.randn(4, 5), "b": torch.randn(4, 5)},
    ),
}  # fmt: skip

QUANTIZED: dict[str, Case] = {
    "fake_quantize_per_tensor": lambda x, y: torch.fake_quantize_per_tensor_affine(x.float(), 0.1, 0, 0, 15),
    "fake_quantize_per_tensor by tensors": lambda x, y: torch.fake_quantize_per_tensor_affine(
        x.float(), torch.tensor([0.1]), torch.zeros(1, dtype=torch.int32), 0, 15
    ),
    "fake_quantize_per_channel": (
        lambda x, y, scale: torch.fake_quantize_per_channel_affine(
            x.float(), scale.detach().float(), torch.zeros(scale.shape, dtype=torch.int32), 1, 0, 15
        ),
        {"scale": torch.tensor([0.1, 0.2, 0.3, 0.4])},
    ),
    "learned fake_quantize_per_tensor": (
        lambda x, y, s, z: torch._fake_quantize_learnable_per_tensor_affine(x.float(), s.float(), z.float(), 0, 15),
        {"s": torch.tensor([0.1]), "z": torch.zeros(1)},
    ),
    "learned fake_quantize_per_channel": (
        lambda x, y, s, z: torch._fake_quantize_learnable_per_channel_affine(x.float(), s.float(), z.float(), 1, 0, 15),
        {"s": torch.tensor([0.1, 0.2, 0.3, 0.4]), "z": torch.zeros(4)},
    ),
    "fused observed fake_quant": (lambda x, y, w: observed(x, w, per_row=False), {"w": torch.randn(5, 4)}),
}  # fmt: skip


def observed(x: Tensor, weight: Tensor, *, per_row: bool) -> Tensor:
    """A layer whose weight is rounded by what was seen of it."""
    count = len(weight) if per_row else 1
    low, high, scale = (torch.tensor([number] * count) for number in (-1.0, 1.0, 0.1))
    off, on, zero_point = (torch.tensor([number] * count, dtype=torch.int32) for number in (0, 1, 0))
    rounded = torch.fused_moving_avg_obs_fake_quant(
        weight.float(), off.long(), on.long(), low, high, scale, zero_point, 0.01, -8, 7, 0, per_row, False
    )
    return F.linear(x.mean((2, 3)).float(), rounded)


def batched(call: Any) -> Function:
    """Of a matrix for each channel, of which none is singular."""

    def function(x: Tensor, y: Tensor) -> Tensor:
        matrix = x + x.mT + 20 * torch.eye(4).to(x)
        made = call(matrix, y)
        made = made if isinstance(made, Tensor) else made[-1]
        return made if made.dim() > 2 else made[..., None]

    return function


LINALG = torch.linalg
MATRICES: dict[str, Case] = {
    name: batched(call)
    for name, call in {
        "inverse": lambda m, y: m.inverse(), "linalg.inv": lambda m, y: LINALG.inv(m),
        "pinverse": lambda m, y: m.pinverse(), "linalg.pinv": lambda m, y: LINALG.pinv(m),
        "matrix_exp": lambda m, y: aten.matrix_exp.default(-m), "linalg.matrix_exp": lambda m, y: LINALG.matrix_exp(-m),
        "linalg.cholesky": lambda m, y: LINALG.cholesky(m),
        "householder_product": lambda m, y: LINALG.householder_product(m, 0.1 * m[..., 0]),
        "det": lambda m, y: m.det(), "linalg.det": lambda m, y: LINALG.det(m), "logdet": lambda m, y: m.logdet(),
        "slogdet": lambda m, y: m.slogdet(), "linalg.slogdet": lambda m, y: LINALG.slogdet(m),
        "qr": lambda m, y: LINALG.qr(m), "svd": lambda m, y: m.svd()[1], "linalg.svd": lambda m, y: LINALG.svd(m)[1],
        "svdvals": lambda m, y: LINALG.svdvals(m), "eigh": lambda m, y: LINALG.eigh(m)[0],
        "eigvalsh": lambda m, y: LINALG.eigvalsh(m), "solve": lambda m, y: LINALG.solve(m, y),
        "solve_triangular": lambda m, y: LINALG.solve_triangular(m, y, upper=True),
    }.items()
} | {
    "inverse of channels": lambda x, y: LINALG.inv(x.movedim(1, 3) + torch.eye(4)),
}  # fmt: skip

PRODUCTS: dict[str, Case] = QUANTIZED | MATRICES | {
    "cosine_similarity": lambda x, y: F.cosine_similarity(x, y, 3),
    "cosine_similarity of channels": lambda x, y: F.cosine_similarity(x, y),
    "pairwise_distance": lambda x, y: F.pairwise_distance(x, y),
    "pairwise_distance of channels": lambda x, y: F.pairwise_distance(x.movedim(1, 3), y.movedim(1, 3), keepdim=True),
    "cdist": lambda x, y: torch.cdist(x.flatten(2), y.flatten(2), compute_mode="donot_use_mm_for_euclid_dist"),
    "cdist of channels": lambda x, y: torch.cdist(
        x.flatten(2).mT, y.flatten(2).mT, compute_mode="donot_use_mm_for_euclid_dist"
    ),
    "bilinear": (
        lambda x, y, w, b: F.bilinear(x.mean((2, 3)), y.mean((2, 3)), w, b),
        {"w": torch.randn(5, 4, 4), "b": torch.randn(5)},
    ),
    "tensordot": lambda x, y: torch.tensordot(x, y[0], ([2, 3], [2, 1])),
    "tensordot weight": (lambda x, y, w: torch.tensordot(x, w, ([1], [0])), {"w": torch.randn(4, 5)}),
    "inner": lambda x, y: torch.inner(x, y[0, :, 0]),
    "inner with a number": lambda x, y: torch.inner(x, torch.tensor(2.0).to(x)),
    "inner weight": (lambda x, y, w: torch.inner(x.movedim(1, 3), w), {"w": torch.randn(5, 4)}),
    "linalg.matmul weight": (lambda x, y, w: LINALG.matmul(x.mean((2, 3)), w), {"w": torch.randn(4, 5)}),
    "kron": lambda x, y: torch.kron(x[:, :, 0], y[:1, :, 0]),
    "linalg.cross": lambda x, y: LINALG.cross(x[..., :3], y[..., :3]),
    "linalg.norm": lambda x, y: LINALG.norm(x, dim=(2, 3)),
    "linalg.norm of a kind": lambda x, y: LINALG.norm(x, "nuc", dim=(2, 3)),
    "linalg.matrix_norm": lambda x, y: LINALG.matrix_norm(x),
    "linalg.matrix_norm of a number": lambda x, y: LINALG.matrix_norm(x, 2),
    "product with a weight summed up": (
        lambda x, y, w: (x.movedim(1, 3) * w).sum(-1) + y.movedim(1, 3).mean(3), {"w": torch.randn(1, 4)}
    ),
    "addmm_": (lambda x, y, w: x.mean((2, 3)).addmm_(y.mean((2, 3)), w), {"w": torch.randn(4, 4)}),
    "baddbmm_": lambda x, y: x[:, :, 0].clone().baddbmm_(x[:, :, 1], y.mean(1)),
    "addmv_": (lambda x, y, w: y[:, 0, 0, 0].clone().addmv_(x.mean((2, 3)), w)[:, None], {"w": torch.randn(4)}),
    "renorm": lambda x, y: x.renorm(2, 1, 0.5),
    "renorm_": lambda x, y: x.clone().renorm_(2, 0, 0.5),
    "embedding shortened": (
        lambda x, y, table: x + F.embedding(torch.tensor([1, 0]), table.clone(), max_norm=0.5)[:, :, None, None],
        {"table": torch.randn(3, 4)},
    ),
    "embedding_bag plain": (
        lambda x, y, table: x
        + aten.embedding_bag.default(table, torch.tensor([1, 0]), torch.tensor([0, 1]))[0][..., None, None],
        {"table": torch.randn(3, 4)},
    ),
    "aminmax": lambda x, y: torch.stack(torch.aminmax(x, dim=2), 1),
    "aminmax of channels": lambda x, y: torch.stack(torch.aminmax(x, dim=1), 1),
    "nansum": lambda x, y: x.nansum(2),
    "nanmean": lambda x, y: x.nanmean((2, 3)),
    "nanmean of channels": lambda x, y: x.nanmean(1),
    "count_nonzero": lambda x, y: torch.count_nonzero(x > 0.5, (2, 3)),
    "count_nonzero of all": lambda x, y: y + torch.count_nonzero(x > 0.5),
    "all of several": lambda x, y: aten.all.dims(x > 0.5, (2, 3)),
    "any of several": lambda x, y: aten.any.dims(x > 0.5, (2, 3)),
    "prod of all": lambda x, y: y + x.prod(),
    **{f"{call} plain": lambda x, y, call=call: y + getattr(aten, call).default(x) for call in ("var", "std")},
    **{
        f"{call} plain": lambda x, y, call=call: y + getattr(aten, call).default(x)[0]
        for call in ("var_mean", "std_mean")
    },
    **{
        f"{call}{told}": lambda x, y, call=call, how=how: (
            y + getattr(F, call)(x.sigmoid(), y.sigmoid().detach(), reduction=how)
        )
        for call in (
            "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy",
            "binary_cross_entropy_with_logits", "kl_div",
        )
        for how, told in {"none": "", "mean": " averaged", "sum": " summed up"}.items()
    },
    "cross_entropy": lambda x, y: y + F.cross_entropy(x, torch.ones(2, 4, 4, dtype=torch.long)),
    "nll_loss of vectors": lambda x, y: y + aten.nll_loss.default(x.mean((2, 3)), torch.ones(2, dtype=torch.long)),
    "nll_loss of maps": lambda x, y: y + aten.nll_loss2d.default(x, torch.ones(2, 4, 4, dtype=torch.long)),
    "nll_loss": lambda x, y: y + F.nll_loss(x, torch.ones(2, 4, 4, dtype=torch.long)),
    "ctc_loss": lambda x, y: y + F.ctc_loss(
        x.flatten(2).movedim(1, 2).movedim(1, 0).log_softmax(2), torch.ones(2, 3, dtype=torch.long),
        torch.tensor([16, 16]), torch.tensor([3, 3]),
    ),
    "ctc_loss of lists": lambda x, y: y + F.ctc_loss(
        x.flatten(2).movedim(1, 2).movedim(1, 0).log_softmax(2), torch.ones(2, 3, dtype=torch.long), (16, 16), (3, 3)
    ),
    "cosine_embedding_loss": lambda x, y: y + F.cosine_embedding_loss(
        x.mean((2, 3)), y.mean((2, 3)), torch.ones(2).to(x)
    ),
    "max_unpool2d": lambda x, y: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
    "max_unpool3d": lambda x, y: F.max_unpool3d(
        *F.max_pool3d(x.unflatten(2, (2, 2)), (1, 2, 2), return_indices=True), (1, 2, 2)
    ),
    "fractional_max_pool2d": lambda x, y: F.fractional_max_pool2d(
        x, 2, output_size=2, _random_samples=torch.full((2, x.shape[1], 2), 0.3).to(x)
    ),
    "fractional_max_pool3d": lambda x, y: F.fractional_max_pool3d(
        x.unflatten(2, (2, 2)), (1, 1, 2), output_size=(1, 1, 2),
        _random_samples=torch.full((2, x.shape[1], 3), 0.3).to(x),
    ),
    "affine_grid": lambda x, y: F.grid_sample(
        x, F.affine_grid(torch.tensor([[[1.0, 0, 0.1], [0, 1, 0]]] * 2).to(x), x.shape, False), align_corners=False
    ),
    "hstack": lambda x, y: torch.hstack([x, y]),
    "vstack": lambda x, y: torch.vstack([x, y]).unflatten(0, (2, 2)).transpose(0, 1),
    "row_stack": lambda x, y: aten.row_stack.default([x, y]).unflatten(0, (2, 2)).transpose(0, 1),
    "dstack": lambda x, y: torch.dstack([x.mean((2, 3)), y.mean((2, 3))]),
    "column_stack": lambda x, y: torch.column_stack([x, y]),
    "column_stack of vectors": lambda x, y: torch.column_stack([x.mean((1, 2, 3)), y.mean((1, 2, 3))]),
    "hstack of vectors": lambda x, y: (
        y.repeat(1, 2, 1, 1) + torch.hstack([x.mean((0, 2, 3)), y.mean((0, 2, 3))])[:, None, None]
    ),
    "vstack of vectors": lambda x, y: torch.vstack([x.mean((0, 2, 3)), y.mean((0, 2, 3))]),
    "concatenate": lambda x, y: aten.concatenate.default([x, y], 1),
    "atleast_1d": lambda x, y: torch.atleast_1d(x.mean((2, 3))),
    "atleast_2d": lambda x, y: torch.atleast_2d(x.mean((0, 2, 3))) + y.mean((2, 3)),
    "atleast_3d": lambda x, y: torch.atleast_3d(x.mean((2, 3))) + y.mean(3),
    "broadcast_tensors": lambda x, y: torch.broadcast_tensors(x.mean(2, keepdim=True), y)[1],
    "slice_scatter": lambda x, y: x.slice_scatter(y[:, :, :2], 2, 0, 2),
    "select_scatter": lambda x, y: x.select_scatter(y[:, :, 0], 2, 1),
    "unsafe_chunk": lambda x, y: x.unsafe_chunk(2, 2)[0],
    "unsafe_split": lambda x, y: x.unsafe_split(2, 2)[1],
    "unsafe_split_with_sizes": lambda x, y: x.unsafe_split_with_sizes([1, 3], 2)[1],
    "mH": lambda x, y: x.flatten(2).mH,
    "in other order in place": lambda x, y: x.clone().transpose_(1, 2).swapaxes_(1, 2).swapdims_(2, 3),
    "t_": lambda x, y: x.mean((2, 3)).t_().t(),
    "squeeze_": lambda x, y: x.mean((2, 3), keepdim=True).squeeze_(3).squeeze_(),
    "squeeze_.dims": lambda x, y: x.mean((2, 3), keepdim=True).squeeze_((2, 3)).unsqueeze_(1),
    "to.other": lambda x, y: aten.to.other(x, y),
    "requires_grad_": lambda x, y: aten.requires_grad_.default(x.detach(), False),
    "lift_fresh_copy": lambda x, y: aten.lift_fresh_copy.default(x),
    "eye of two": lambda x, y: x + torch.eye(4, 4),
    "logspace": lambda x, y: x + torch.logspace(0, 1, 4),
    "scalar_tensor": lambda x, y: x + torch.scalar_tensor(2.0),
    "tril_indices": lambda x, y: x[:, :, torch.tril_indices(4, 4)[0]],
    "triu_indices": lambda x, y: x[:, :, torch.triu_indices(4, 4)[0]],
    "randperm": checked(lambda x: torch.randperm(4)),
    **{
        f"{call} {told}": lambda x, y, call=call, args=args: x * getattr(torch, call)(4, *args)
        for call, told, args in [
            ("hann_window", "plain", ()), ("hann_window", "periodic", (True,)), ("hamming_window", "plain", ()),
            ("hamming_window", "periodic", (True,)), ("blackman_window", "plain", ()), ("bartlett_window", "plain", ()),
        ]
    },
}  # fmt: skip
