"""What older NumPys do otherwise than docs/ops.md, which is about NumPy 2.4: the lines, and what is recorded.

`older_lines` chooses by the NumPy that is here.
"""

BEFORE_2_4 = {  # einsum contracted pairs by tensordot
    'np.einsum("ij,jk,kl->il", x, sq, sq, optimize=True)': (
        "einsum[4x3,3x3,3x3=1->4x3:F](tensordot[3x3,3x3=0->3x3](dot[3x3:F,3x3:F=0->3x3]) "
        "c_einsum[3x3->3x3:F; lj->jl] tensordot[3x3:F,4x3->3x4](dot[3x3,3x4:F->3x4]) "
        "c_einsum[3x4->4x3:F; li->il])"
    ),
}
BEFORE_2_3 = {  # returned a Python int
    "np.count_nonzero(x)": "count_nonzero[4x3->](count_nonzero[4x3->])",
}
BEFORE_2_1 = {  # loops for tall and for wide matrices had names of their own
    'np.linalg.qr(x, mode="r")': (
        "linalg.qr[4x3->3x3](astype[4x3->4x3] qr_r_raw_n[4x3->3; signature=d->d] "
        "triu[3x3->3x3](arange[->3:i1] arange[->3:i1] "
        "greater_equal.outer[3:i1,3:i1->3x3:?] zeros[->1] where[3x3:?,1,3x3->3x3]))"
    ),
    "np.linalg.svd(x)": ("linalg.svd[4x3->4x4,3,3x3](svd_n_f[4x3->4x4,3,3x3; signature=d->ddd])"),
    "np.linalg.svd(x, compute_uv=False)": ("linalg.svd[4x3->3](svd_n[4x3->3; signature=d->d])"),
}
BEFORE_2_0 = {
    'np.einsum("ij,jk,kl->il", x, sq, sq, optimize=True)': (
        "einsum[4x3,3x3,3x3=1->4x3:F](tensordot[3x3,3x3=0->3x3](multiply.reduce[o1:i8->s:i8] "
        "multiply.reduce[o1:i8->s:i8] dot[3x3:F,3x3:F=0->3x3]) "
        "c_einsum[3x3->3x3:F; lj->jl] tensordot[3x3:F,4x3->3x4](multiply.reduce[o1:i8->s:i8] "
        "multiply.reduce[o1:i8->s:i8] dot[3x3,3x4:F->3x4]) c_einsum[3x4->4x3:F; li->il])"
    ),
    "np.tensordot(x, sq, 1)": (
        "tensordot[4x3,3x3->4x3](multiply.reduce[o1:i8->s:i8] "
        "multiply.reduce[o1:i8->s:i8] dot[4x3,3x3->4x3])"
    ),
    "np.linalg.matrix_power(sq, 3)": (
        "linalg.matrix_power[3x3->3x3](matmul[3x3,3x3=0->3x3] matmul[3x3,3x3->3x3])"
    ),
    "np.fft.fft(v5)": ("fft.fft[5->5:c16](execute[5->5:c16])"),
    "np.fft.ifft(z)": ("fft.ifft[5:c16->5:c16](execute[5:c16->5:c16])"),
    "np.fft.rfft(v5)": ("fft.rfft[5->3:c16](execute[5->3:c16])"),
    "np.fft.irfft(z, 8)": (
        "fft.irfft[5:c16->8](zeros[->8:c16] setitem[5:c16->5:c16] execute[8:c16->8])"
    ),
    "np.fft.fft2(x)": (
        "fft.fft2[4x3->4x3:c16:F](take[->2:i8](asarray[->2:i8] take[2:i8->2:i8]) "
        "fft.fft[4x3->4x3:c16](execute[4x3->4x3:c16]) "
        "fft.fft[4x3:c16->4x3:c16:F](execute[3x4:c16:F->3x4:c16]))"
    ),
    "np.meshgrid(v3, v5)": ("meshgrid[3,5->](copy[5x3:S0/8->5x3] copy[5x3:S8/0->5x3])"),
    "np.linspace(0, 1, 5)": (
        "linspace[->5](asanyarray[->.:i8] multiply[.:i8,p:float->s] asanyarray[->.:i8] "
        "multiply[.:i8,p:float->s] arange[->5] multiply[5,s->5=0] add[5,s->5=0] "
        "setitem[s->.])"
    ),
}


def older_lines(numpy: tuple[int, int]) -> dict[str, str]:
    """Return the lines that this NumPy (major and minor version) does otherwise than the newest."""
    changes = {(2, 4): BEFORE_2_4, (2, 3): BEFORE_2_3, (2, 1): BEFORE_2_1, (2, 0): BEFORE_2_0}
    return {line: ops for at, older in changes.items() if numpy < at for line, ops in older.items()}
