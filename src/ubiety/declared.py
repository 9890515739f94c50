"""Every setting of a node, gathered from the modules that use them."""

from ubiety.admin import api, system
from ubiety.cluster import monitor, moving, recovery_settings
from ubiety.directory import assignment, passwords
from ubiety.gateway import client_settings, im_settings
from ubiety.gateway import settings as federation
from ubiety.net import pacing, service, sip_settings
from ubiety.users import features, homed, preferences

SETTINGS = (
    *preferences.ALL,
    *features.SETTINGS,
    *homed.SETTINGS,
    *service.SETTINGS,
    *pacing.ALL,
    *sip_settings.SETTINGS,
    *passwords.SETTINGS,
    *assignment.SETTINGS,
    *moving.SETTINGS,
    *federation.SETTINGS,
    *client_settings.SETTINGS,
    *im_settings.SETTINGS,
    *api.SETTINGS,
    *system.SETTINGS,
    *recovery_settings.SETTINGS,
    *monitor.SETTINGS,
)
