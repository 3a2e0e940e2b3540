"""Losses: nn.Module and functional forms."""
