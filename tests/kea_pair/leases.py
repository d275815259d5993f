"""
Lease files written beforehand: Kea's memfile CSV.
"""

import time
from collections.abc import Iterable, Iterator

from tests.kea_pair.config import PairSpec

HEADER4 = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context"
HEADER6 = (
    "address,duid,valid_lifetime,expire,subnet_id,pref_lifetime,lease_type,iaid,prefix_len,"
    "fqdn_fwd,fqdn_rev,hostname,hwaddr,state,user_context,hwtype,hwaddr_source"
)


def lease_file(spec: PairSpec, version: str, subnet: int, owner: int, addresses: Iterable[str]) -> Iterator[str]:
    """
    Yield the lines of a lease file in which every address is leased from now on.
    """
    # Kea 2.4 added the pool; a file without that column would be converted by kea-lfc at the start.
    pool = "" if version == "2.2" else ",0"
    yield (HEADER4 if spec.service == 4 else HEADER6) + (",pool_id" if pool else "") + "\n"
    life = spec.valid_lifetime
    expire = int(time.time()) + life
    for number, address in enumerate(addresses):
        client = f"02:{owner:02x}:" + ":".join(f"{byte:02x}" for byte in number.to_bytes(4, "big"))
        if spec.service == 4:
            yield f"{address},{client},,{life},{expire},{subnet},0,0,,0,{pool}\n"
        else:
            duid = f"00:03:00:01:{client}"
            yield f"{address},{duid},{life},{expire},{subnet},{life},0,1,128,0,0,,{client},0,,1,0{pool}\n"
