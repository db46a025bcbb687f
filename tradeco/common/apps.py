from django.apps import AppConfig


class CommonConfig(AppConfig):
    name = "tradeco.common"
    label = "common"
    verbose_name = "Company"

    def ready(self) -> None:
        from tradeco.common import checks  # noqa: F401  registers the start-up checks
