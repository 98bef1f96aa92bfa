"""A filter for Swift's proxy that does what a JSON file says, read at every request; without the file, nothing.

The file is a list of rules; the first that fits a request and has a count left is applied:
  method, path     what it fits: a method, a regular expression on the path; any where absent
  skip, count      lets so many requests pass, then applies to so many (for ever where absent)
  status, headers, body, drain    answers so; drain reads the request's body first
  delay            seconds before it goes on
  reset_after      PUT, POST: passes on so many bytes of the body and breaks it there, so that nothing is stored;
                   GET: sends so many bytes of the body and cuts the connection
"""
import json
import os
import re

from eventlet import sleep


class Cut:
    """A request's body that breaks."""

    def __init__(self, body, left):
        self.body, self.left = body, left

    def read(self, size=-1):
        if self.left <= 0:
            raise OSError('fault: the body is cut')
        data = self.body.read(min(size, self.left) if size and size > 0 else self.left)
        self.left -= len(data)
        return data

    def __getattr__(self, name):
        return getattr(self.body, name)


def cut_short(answer, left):
    for piece in answer:
        if len(piece) >= left:
            yield piece[:left]
            raise OSError('fault: the answer is cut')
        left -= len(piece)
        yield piece


class Faults:
    def __init__(self, app, path):
        self.app, self.path = app, path
        self.version, self.rules, self.hits = None, [], {}

    def load(self):
        try:
            stat = os.stat(self.path)
        except OSError:
            self.version, self.rules = None, []
            return
        version = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        if version != self.version:
            with open(self.path) as f:
                self.rules = json.load(f)
            self.version, self.hits = version, {}

    def rule_for(self, env):
        for number, rule in enumerate(self.rules):
            if rule.get('method', env['REQUEST_METHOD']) != env['REQUEST_METHOD']:
                continue
            if not re.search(rule.get('path', ''), env['PATH_INFO']):
                continue
            hits = self.hits[number] = self.hits.get(number, 0) + 1
            skip = rule.get('skip', 0)
            if hits > skip and hits <= skip + rule.get('count', hits):
                return rule
        return None

    def __call__(self, env, start):
        self.load()
        rule = self.rule_for(env)
        if rule is None:
            return self.app(env, start)
        if rule.get('delay'):
            sleep(rule['delay'])
        if rule.get('status'):
            while rule.get('drain') and env['wsgi.input'].read(65536):
                pass
            body = rule.get('body', 'injected').encode()
            headers = {'Content-Length': str(len(body)), 'Content-Type': 'text/plain', **rule.get('headers', {})}
            start(rule['status'], list(headers.items()))
            return [body]
        cut = rule.get('reset_after')
        if cut is None:
            return self.app(env, start)
        if env['REQUEST_METHOD'] in ('PUT', 'POST'):
            env['wsgi.input'] = Cut(env['wsgi.input'], cut)
            return self.app(env, start)
        return cut_short(self.app(env, start), cut)


def filter_factory(global_conf, **conf):
    return lambda app: Faults(app, conf['fault_file'])
