"""A training run to be killed: `python killed_run.py FOLDER` starts it, or goes on from what is there."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from problems import Net, digest, sources

from saiki import learning as L
from saiki.core.errors import CheckpointError


def run(folder=None, resume=False, epochs=4):
    """Train, and return the network. A checkpoint after every update: much of the time is spent saving."""
    trainer = L.Trainer(
        training=L.Training(refit="all", schedule="plateau", optimizer="momentum", every=7),
        lr=0.02,
        max_epochs=epochs,
        batch_size=3,
        patience=9,
    )
    network = Net(seed=40 if resume else 1)
    train, validation, everything = sources(36, 12)
    trainer.fit(
        network,
        "squared",
        train,
        validation,
        all_data=everything,
        checkpoint=folder,
        every_minutes=0,
        resume=resume,
    )
    return network


if __name__ == "__main__":
    torch.set_num_threads(1)
    where = Path(sys.argv[1])
    run(epochs=1)  # so that the moments counted from here fall into the work, not into imports
    print("ready", flush=True)
    try:
        L.newest_verified(where)
        trained = run(where, resume=True)
    except CheckpointError as error:
        if "nothing was trained yet" not in str(error):
            raise
        trained = run(where)
    print(digest(trained), flush=True)
