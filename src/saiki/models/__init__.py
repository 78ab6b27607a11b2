"""One file a task: the network, its loss, its metrics, its fit/predict face."""
