"""Result folders: whole or not there (`new_folder`), or grown by one run at a time (`claimed`)."""

from l2caf.storage.claims import LOCK as LOCK
from l2caf.storage.claims import claimed as claimed
from l2caf.storage.claims import differences as differences
from l2caf.storage.files import MANIFEST as MANIFEST
from l2caf.storage.files import PARTIAL as PARTIAL
from l2caf.storage.files import JsonObject as JsonObject
from l2caf.storage.files import as_json as as_json
from l2caf.storage.files import digest as digest
from l2caf.storage.files import new_folder as new_folder
from l2caf.storage.files import read_arrays as read_arrays
from l2caf.storage.files import read_manifest as read_manifest
from l2caf.storage.files import whole_file as whole_file
from l2caf.storage.files import write_arrays as write_arrays
from l2caf.storage.files import write_manifest as write_manifest
