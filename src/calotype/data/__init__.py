"""How batches are drawn: DataModules, splits, preprocessing, augmentation."""
