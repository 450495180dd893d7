"""Networks from outside, made ready to be looked at.

name        MODEL as it is typed: SCHEME:WHAT?ARGUMENTS@WEIGHTS;  loaders/  one file a scheme
loaded      what a loader returns;  weights  files of weights, fitted to a network
prepare     the preparation of pixels, wrapped inside;  gradients  what kind of gradient comes back
orders      orders of classes, and which one fits;  checks  the checks that run by default;  normalizations  one of them
foreign     a network from outside as a subject: loaded, prepared, checked, identified
"""
