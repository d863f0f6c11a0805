"""The bundle: its file, its checks and its encoder. A model file is checked before it is used."""
