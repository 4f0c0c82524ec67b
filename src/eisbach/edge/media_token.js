// Media tokens at the origin, in njs: behind `import crypto` and media_codec.js, which hold the rule.
//
// A token is read from the raw request line, before nginx decodes anything: there is one spelling of a valid token.
// `media_keys` is preloaded from keys.json (kid -> hexadecimal key, mode 0600); the configuration holds no key.
function judge(r) {
    const path = PATH.exec(r.variables.request_uri);
    return path === null ? 'token_malformed' : verify(media_keys, path[1], path[2], Math.floor(Date.now() / 1000));
}

export default { judge };
