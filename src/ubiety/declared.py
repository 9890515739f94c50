"""Every setting of a node, gathered from the modules that use them."""

from ubiety.admin import api, system
from ubiety.cluster import recovery
from ubiety.directory import passwords
from ubiety.net import pacing, service
from ubiety.users import features, preferences

SETTINGS = (
    *preferences.ALL,
    *features.SETTINGS,
    *service.SETTINGS,
    *pacing.ALL,
    *passwords.SETTINGS,
    *api.SETTINGS,
    *system.SETTINGS,
    *recovery.SETTINGS,
)
