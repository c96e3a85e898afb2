// Package seal encrypts what a state keeps and others must not read, such as the state of
// Terraform: AES-256 in GCM, over compressed content.
package seal

import (
	"bytes"
	"compress/gzip"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tenon-ml/tenon/internal/files"
)

// most is how large content may be, in bytes, before it is compressed.
const most = 256 << 20

// A Key encrypts and decrypts.
type Key struct {
	aead cipher.AEAD
	id   string
}

// Parse returns the key that 64 hexadecimal digits stand for, as `openssl rand -hex 32` prints them.
func Parse(text string) (*Key, error) {
	b, err := hex.DecodeString(strings.TrimSpace(text))
	if err != nil || len(b) != 32 {
		return nil, errors.New("a key has 64 hexadecimal digits, as openssl rand -hex 32 prints them")
	}
	block, err := aes.NewCipher(b)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	h := sha256.Sum256(append([]byte("tenon key "), b...))
	return &Key{aead: aead, id: hex.EncodeToString(h[:4])}, nil
}

// File returns the key in a file that only its owner may read. If there is none, it makes one with a
// new key, unless make is unset: then it returns an error that is [fs.ErrNotExist].
func File(path string, mayMake bool) (*Key, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && mayMake {
		b, err = newFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("the key of the state: %w", err)
	}
	k, err := Parse(string(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// newFile writes a new key to a file and returns it. If another process was faster, it returns the key of that
// one, which may already be in use.
func newFile(path string) (b []byte, err error) {
	random := make([]byte, 32)
	if _, err := rand.Read(random); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	part := path + "." + rand.Text()
	if err := files.WriteSynced(part, []byte(hex.EncodeToString(random)+"\n"), 0o600); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.Remove(part)) }()
	if err := os.Link(part, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return os.ReadFile(path)
}

// ID names the key without revealing it: 8 hexadecimal digits.
func (k *Key) ID() string { return k.id }

// Seal encrypts content for a purpose, which [Key.Open] has to name as well.
func (k *Key) Seal(content []byte, purpose string) ([]byte, error) {
	if len(content) > most { // Open would refuse it
		return nil, fmt.Errorf("it has more than %d MiB", most>>20)
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return k.aead.Seal(nil, nil, b.Bytes(), []byte(purpose)), nil
}

// Open returns what was sealed with this key for the purpose. Anything else is an error.
func (k *Key) Open(sealed []byte, purpose string) ([]byte, error) {
	b, err := k.aead.Open(nil, nil, sealed, []byte(purpose))
	if err != nil {
		return nil, fmt.Errorf("it was changed, or encrypted with another key than %s", k.id)
	}
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && len(content) > most {
		err = fmt.Errorf("it has more than %d MiB", most>>20)
	}
	return content, err
}
