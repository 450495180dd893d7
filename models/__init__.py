"""Binary neural networks in pure torch: methods, regularizers, backbones, and the estimators they are made of."""
