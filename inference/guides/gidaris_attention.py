"""Gidaris & Komodakis's (2018) weight generator as a guide."""

from pyro_sib.inference.guides.sib import InitOnlyGuide


class GidarisAttentionGuide(InitOnlyGuide):
    """Class means and what they attend to among the base classes' weights (Gidaris & Komodakis 2018), K = 0."""

    takes_initializer = False
    fixed_initializer = "attention"
