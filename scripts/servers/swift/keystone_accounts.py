"""Fills a fresh Keystone: projects, users, roles and the catalogue. Only the standard library.

keystone_accounts.py URL SWIFT_PORT
"""
import json
import sys
import urllib.error
import urllib.request

URL, SWIFT_PORT = sys.argv[1:3]


def call(method, path, body=None, token=None):
    headers = {'Content-Type': 'application/json'}
    if token:
        headers['X-Auth-Token'] = token
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(URL + path, method=method, data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read()
        return json.loads(text) if text else None, answer.headers


DEFAULT = {'domain': {'id': 'default'}}
PASSWORD = {'user': {'name': 'admin', 'password': 'adminpw', **DEFAULT}}


def sign_in():
    return call('POST', '/auth/tokens', {'auth': {
        'identity': {'methods': ['password'], 'password': PASSWORD},
        'scope': {'project': {'name': 'admin', **DEFAULT}}}})[1]['X-Subject-Token']


token = sign_in()


def admin(method, path, body=None):
    """A request of the administrator, whose token may live for seconds only."""
    global token
    try:
        return call(method, path, body, token)[0]
    except urllib.error.HTTPError as error:
        if error.code != 401:
            raise
        token = sign_in()
        return call(method, path, body, token)[0]


def get(path):
    return admin('GET', path)


def make(path, kind, **values):
    return admin('POST', path, {kind: values})[kind]['id']


roles = {role['name']: role['id'] for role in get('/roles')['roles']}
projects = {p['name']: p['id'] for p in get('/projects')['projects']}
users = {u['name']: u['id'] for u in get('/users')['users']}
for name in ('demo', 'other', 'service'):
    projects[name] = make('/projects', 'project', name=name, domain_id='default')
for name in ('demo', 'other', 'reader', 'stranger'):
    users[name] = make('/users', 'user', name=name, password=name + 'pw', domain_id='default')
users['swift'] = make('/users', 'user', name='swift', password='servicepw', domain_id='default')
for project, user, role in (('demo', 'demo', 'member'), ('other', 'other', 'member'), ('demo', 'reader', 'reader'),
                            ('service', 'swift', 'service'), ('service', 'swift', 'admin')):
    admin('PUT', '/projects/%s/users/%s/roles/%s' % (projects[project], users[user], roles[role]))
service = make('/services', 'service', type='object-store', name='swift')
for interface in ('public', 'internal', 'admin'):
    make('/endpoints', 'endpoint', interface=interface, region_id='RegionOne', service_id=service,
         url='http://127.0.0.1:%s/v1/AUTH_%%(project_id)s' % SWIFT_PORT)
