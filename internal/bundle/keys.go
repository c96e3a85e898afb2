package bundle

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A Private key signs. A Public key is what others compare with.
type (
	Private ed25519.PrivateKey
	Public  ed25519.PublicKey
)

// prefix begins the text of a public key.
const prefix = "ed25519:"

const mostSignature = 1024

// NewKey makes a key and writes it to a file that only its owner can read, in PEM as openssl
// does. An existing file is not replaced.
func NewKey(path string) (Public, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	err = pem.Encode(f, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return Public(public), errors.Join(err, f.Sync(), f.Close())
}

// ParsePrivate reads a private key in PEM.
func ParsePrivate(text []byte) (Private, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("it is no private key in PEM: `tenon bundle key` makes one")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("it is no private key in PEM: `tenon bundle key` makes one")
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("it is no key of the kind ed25519: `tenon bundle key` makes one")
	}
	return Private(private), nil
}

// Public returns the key to compare with.
func (p Private) Public() Public { return Public(ed25519.PrivateKey(p).Public().(ed25519.PublicKey)) }

// ParsePublic reads a public key: its text, or the path of a file with the text or with PEM.
func ParsePublic(text string) (Public, error) {
	if !strings.HasPrefix(text, prefix) {
		b, err := readAtMost(text, 64<<10)
		if err != nil {
			return nil, fmt.Errorf("a public key is %q and 44 letters, or a file: %w", prefix, err)
		}
		if block, _ := pem.Decode(b); block != nil {
			key, err := x509.ParsePKIXPublicKey(block.Bytes)
			public, ok := key.(ed25519.PublicKey)
			if err != nil || !ok {
				return nil, fmt.Errorf("%s has no public key of the kind ed25519", text)
			}
			return Public(public), nil
		}
		text = strings.TrimSpace(string(b))
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, prefix))
	if err != nil || len(raw) != ed25519.PublicKeySize || !strings.HasPrefix(text, prefix) {
		return nil, fmt.Errorf("%.80q is no public key: it is %q and 44 letters", text, prefix)
	}
	return Public(raw), nil
}

func (p Public) String() string { return prefix + base64.StdEncoding.EncodeToString(p) }

// sign returns the signature of a document as text.
func (p Private) sign(document []byte) []byte {
	return append([]byte(base64.StdEncoding.EncodeToString(ed25519.Sign(ed25519.PrivateKey(p), document))), '\n')
}

func (p Public) verify(document, signature []byte) error {
	sig, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(signature)))
	if err != nil || !ed25519.Verify(ed25519.PublicKey(p), document, sig) {
		return fmt.Errorf("it is not signed with the key %s", p)
	}
	return nil
}

// Sign signs the manifest of a bundle.
func Sign(dir string, key Private) error {
	b, err := readAtMost(filepath.Join(dir, ManifestFile), mostManifest)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, SignatureFile), key.sign(b), 0o644)
}

// Verified compares a bundle with its manifest, and with a key if it is not nil. It returns what
// it found, for people.
func Verified(dir string, key Public) (says string, err error) {
	m, digest, err := Read(dir, key)
	if err == nil {
		err = m.Compare(dir)
	}
	if err != nil {
		return "", err
	}
	says = fmt.Sprintf("%s for %s: %d files, sha256:%s", m.Name, m.Platform, len(m.Files), digest)
	if key == nil {
		return says + ", signature not checked", nil
	}
	return says + ", signed with " + key.String(), nil
}
