// A private OpenID provider: the certified implementation `oidc-provider`, with people from a file.
// Settings are in the environment: ISSUER, PORT, CLIENT (JSON), PEOPLE (path of a JSON file, read each time),
// AUDIENCE (whom tokens for storage elements are for, whoever is asked for; as asked if empty),
// LIST and LIST_TOKEN (address of a SCIM server, without /Users, and what it is to be shown).
import { readFileSync } from 'node:fs';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import Provider from 'oidc-provider';

const { ISSUER, PORT, CLIENT, PEOPLE, AUDIENCE, LIST, LIST_TOKEN } = process.env;
const people = () => JSON.parse(readFileSync(PEOPLE, 'utf8'));

// New ones at each start: a restart is a roll-over.
const key = (kind, options, alg) => {
  const { privateKey } = generateKeyPairSync(kind, options);
  return { ...privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: randomUUID() };
};

// Whoever logs in is called by the subject; who is not active is nobody, also who is so at one endpoint only.
const findAccount = (ctx, sub) => {
  const known = people()[sub];
  if (!known || known.active === false || known.unknown_at === ctx.oidc.route) return undefined;
  return { accountId: sub, claims: () => ({ ...known.claims, sub }) };
};

const provider = new Provider(ISSUER, {
  clients: [JSON.parse(CLIENT)],
  findAccount,
  jwks: { keys: [key('rsa', { modulusLength: 2048 }, 'RS256'), key('ec', { namedCurve: 'P-256' }, 'ES256')] },
  cookies: { keys: [randomUUID()] },
  scopes: ['openid', 'offline_access', 'scim:read', 'storage.read:/astro'],
  claims: {
    openid: ['sub'],
    profile: ['preferred_username', 'wlcg.groups', 'eduperson_entitlement', 'groups', 'realm_access'],
    email: ['email', 'email_verified'],
  },
  features: {
    clientCredentials: { enabled: true },
    jwtUserinfo: { enabled: true },
    revocation: { enabled: true },
    // Tokens for elements are JWTs, which say whom they are for.
    resourceIndicators: {
      enabled: true,
      defaultResource: (ctx) => (ctx.oidc.body?.audience ? AUDIENCE || ctx.oidc.body.audience : undefined),
      getResourceServerInfo: (_ctx, audience) => ({
        audience, scope: 'storage.read:/astro', accessTokenFormat: 'jwt', accessTokenTTL: 600,
      }),
    },
  },
  rotateRefreshToken: true,
  ttl: { AccessToken: 3600, AuthorizationCode: 60, ClientCredentials: 600, Grant: 86400, IdToken: 3600,
         Interaction: 3600, RefreshToken: 86400, Session: 86400 },
});

// The list of users (RFC 7644) of another server, which is read with tokens of this one, as at Indigo IAM.
provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith('/scim/')) return next();
  const token = await provider.ClientCredentials.find((ctx.get('authorization') || '').replace(/^Bearer /, ''));
  if (!token || !token.isValid || !(token.scope || '').split(' ').includes('scim:read')) {
    ctx.status = 401;
    return undefined;
  }
  const headers = { authorization: `Bearer ${LIST_TOKEN}` };
  const answer = await fetch(`${LIST}${ctx.path.slice('/scim'.length)}${ctx.search}`, { headers });
  ctx.status = answer.status;
  ctx.type = answer.headers.get('content-type');
  ctx.body = await answer.text();
  return undefined;
});

provider.listen(Number(PORT), '127.0.0.1');
