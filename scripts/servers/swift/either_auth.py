"""Keystone's filter for a proxy that also has users of its own (tempauth). Tokens of those go past it: else each of
their requests costs a call to Keystone, since it does not remember what it does not know."""
from keystonemiddleware import auth_token


def filter_factory(global_conf, **conf):
    own = conf.pop('own_token_prefix')
    keystone = auth_token.filter_factory(global_conf, **conf)

    def factory(app):
        by_keystone = keystone(app)

        def either(env, start):
            token = env.get('HTTP_X_AUTH_TOKEN', env.get('HTTP_X_STORAGE_TOKEN', ''))
            return app(env, start) if token.startswith(own) else by_keystone(env, start)
        return either
    return factory
