// The strict codec of media tokens, the same as kernel/tokens.py. No module of its own: it is put behind an
// `import crypto` into njs's module at the origin (media_token.js) and into the CDN's function on AWS (delivery.js), so
// that there is one text of it. tests/edge and tests/deploy/aws hold both to one table.
const TOKEN = /^([a-z0-9]{1,8})\.([1-9][0-9]{9})\.([a-z0-9][a-z0-9_-]{0,63})\.([A-Za-z0-9_-]{43})$/;
const PATH = /^\/t\/([^\/?]*)\/(?:vod|ch)\/([^\/?]*)\//;

// "ok", or the code of the refusal.
function verify(keys, token, scope, nowS) {
    const parts = TOKEN.exec(token);
    if (parts === null) {
        return 'token_malformed';
    }
    const kid = parts[1];
    if (!Object.prototype.hasOwnProperty.call(keys, kid)) {
        return 'token_key';
    }
    const signed = `${kid}.${parts[2]}.${parts[3]}`;
    const wanted = crypto.createHmac('sha256', Buffer.from(keys[kid], 'hex')).update(signed).digest('base64url');
    if (!same(wanted, parts[4])) {
        return 'token_signature';
    }
    if (Number(parts[2]) < nowS) {
        return 'token_expired';
    }
    return parts[3] === scope ? 'ok' : 'token_scope';
}

// Both are 43 characters; the time does not tell where they differ.
function same(a, b) {
    let difference = a.length ^ b.length;
    for (let i = 0; i < a.length; i++) {
        difference |= a.charCodeAt(i) ^ b.charCodeAt(i);
    }
    return difference === 0;
}
