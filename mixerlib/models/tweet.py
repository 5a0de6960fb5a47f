"""The tweetable ConvMixer: the whole architecture in at most 280 characters, import line included.

`ConvMixer(h, d, k, p, n)`: width h, depth d, kernel size k, patch size p, n classes; images have
three channels. It has the same tensors in the same order as `mixerlib.models.convmixer.ConvMixer`,
which is the one to read and to use. Chapter 03 takes it apart. The idea of a ConvMixer in a tweet
is Trockman and Kolter's (arXiv 2201.09792); theirs pads by `k//2`, which fails for an even k, ours
by "same".
"""

# ruff: noqa
# fmt: off
from torch.nn import *
def ConvMixer(h,d,k,p,n):
 S=Sequential;A=lambda*c:S(Conv2d(*c),GELU(),BatchNorm2d(h))
 class R(S):forward=lambda s,x:x+s[0](x)
 return S(A(3,h,p,p),*(S(R(A(h,h,k,1,"same",1,h)),A(h,h,1))for _ in range(d)),AdaptiveAvgPool2d(1),Flatten(),Linear(h,n))
