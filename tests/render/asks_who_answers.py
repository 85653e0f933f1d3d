# Runs Patroni's wrapper with this in the place of Patroni: which member of etcd is asked first for the list of all members?
import runpy
from unittest import mock

import patroni.__main__ as patroni
from patroni.dcs import etcd3

MEMBERS = ['http://etcd-%d:2379' % number for number in (1, 2, 3)]


def asks():
    client = etcd3.Etcd3Client.__new__(etcd3.Etcd3Client)
    client._use_proxies, client._machines_cache, client._dns_resolver = False, MEMBERS, mock.Mock()
    client._prepare_get_members = lambda members: {}
    for uses in MEMBERS:
        client._base_uri = uses
        with mock.patch.object(client, '_get_members', return_value=MEMBERS) as ask:
            client._refresh_machines_cache()
        print(uses, 'asks', ask.call_args_list[0].args[0])


patroni.main = asks
runpy.run_path('/usr/local/bin/patroni-for-swarm', run_name='__main__')
