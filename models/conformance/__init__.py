"""What `lcrbench.testing` checks of methods, regularizers, backbones and estimators, a file each."""
