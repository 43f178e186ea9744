// Verifies one Sigstore bundle with npm's @sigstore/verify and a plain public key, no log, no timestamp.
// usage: node verify.mjs BUNDLE.json KEY.pub; prints OK, or FAIL and the reason with exit code 1.
// Proves envelope, signature and the key's hint. @sigstore/verify never looks at the subject.
import { createHash, createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { bundleFromJSON } from '@sigstore/bundle';
import { Verifier, toSignedEntity, toTrustMaterial } from '@sigstore/verify';

const [bundlePath, keyPath] = process.argv.slice(2);
try {
  const bundle = bundleFromJSON(JSON.parse(readFileSync(bundlePath, 'utf8')));
  const publicKey = createPublicKey(readFileSync(keyPath));
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const expected = createHash('sha256').update(spki).digest('base64');
  const findKey = (hint) => {
    if (hint !== expected) throw new Error(`hint is ${hint}, the key's is ${expected}`);
    return { publicKey, validFor: () => true };
  };
  const nothing = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };
  const thresholds = { tlogThreshold: 0, timestampThreshold: 0, ctlogThreshold: 0 };
  new Verifier(toTrustMaterial(nothing, findKey), thresholds).verify(toSignedEntity(bundle));
  console.log('OK');
} catch (error) {
  console.log(`FAIL ${error.message}`);
  process.exit(1);
}
