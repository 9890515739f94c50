"""Every setting of a node, gathered from the modules that use them."""

from ubiety.directory import passwords
from ubiety.net import pacing, service
from ubiety.users import preferences

SETTINGS = (*preferences.ALL, *service.ALL, *pacing.ALL, *passwords.SETTINGS)
