"""What every test shares."""

from hypothesis import settings

# The machines that run these tests are shared and noisy: a slow example is not a failure.
settings.register_profile("seqembed", deadline=None)
settings.load_profile("seqembed")
