"""One file for each LightningModule."""
