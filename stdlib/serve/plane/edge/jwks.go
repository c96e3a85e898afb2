package edge

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A keySet are the keys of an issuer.
type keySet struct {
	keys []webKey
}

type webKey struct {
	id, algorithm string // "" if it does not say
	key           crypto.PublicKey
}

// fits reports whether a key is for signatures by an algorithm.
func (k webKey) fits(algorithm string) bool {
	if k.algorithm != "" && k.algorithm != algorithm {
		return false
	}
	switch k := k.key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS")
	case *ecdsa.PublicKey:
		return algorithm == map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[k.Params().BitSize]
	case ed25519.PublicKey:
		return algorithm == "EdDSA"
	}
	return false
}

// find returns the key of a token: the one with its id, or the only one that fits if it names
// none.
func (s *keySet) find(id, algorithm string) crypto.PublicKey {
	var found crypto.PublicKey
	for _, k := range s.keys {
		if !k.fits(algorithm) || id != "" && k.id != id {
			continue
		}
		if found != nil {
			return nil
		}
		found = k.key
	}
	return found
}

// leastRSA is the size of the smallest RSA key, in bits.
const leastRSA = 2048

// readKeys reads a JSON Web Key Set. Keys of other kinds, or for other uses, are left out.
func readKeys(b []byte) (*keySet, error) {
	var doc struct {
		Keys []struct{ Kty, Kid, Use, Alg, Crv, N, E, X, Y string }
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, errors.New("it is no JSON Web Key Set")
	}
	s := &keySet{}
	for i, k := range doc.Keys {
		if k.Use != "" && k.Use != "sig" {
			continue
		}
		at := func(says string) error { return fmt.Errorf("key %d: %s", i+1, says) }
		number := func(text string) *big.Int {
			b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
			if err != nil || len(b) > 1024 {
				return new(big.Int)
			}
			return new(big.Int).SetBytes(b)
		}
		var key crypto.PublicKey
		switch {
		case k.Kty == "RSA":
			n, e := number(k.N), number(k.E)
			if n.BitLen() < leastRSA || !e.IsInt64() || e.Int64() < 3 || e.Int64() > 1<<31-1 || e.Bit(0) == 0 {
				return nil, at(fmt.Sprintf("wanted an RSA key of at least %d bits", leastRSA))
			}
			key = &rsa.PublicKey{N: n, E: int(e.Int64())}
		case k.Kty == "EC":
			curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[k.Crv]
			if curve == nil {
				continue
			}
			size := (curve.Params().BitSize + 7) / 8
			x, y := number(k.X), number(k.Y)
			if x.BitLen() > 8*size || y.BitLen() > 8*size {
				return nil, at("it is no point of its curve")
			}
			point := make([]byte, 1+2*size)
			point[0] = 4
			x.FillBytes(point[1 : 1+size])
			y.FillBytes(point[1+size:])
			parsed, err := ecdsa.ParseUncompressedPublicKey(curve, point)
			if err != nil {
				return nil, at("it is no point of its curve")
			}
			key = parsed
		case k.Kty == "OKP" && k.Crv == "Ed25519":
			x, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(k.X, "="))
			if err != nil || len(x) != ed25519.PublicKeySize {
				return nil, at("wanted an Ed25519 key of 32 bytes")
			}
			key = ed25519.PublicKey(x)
		default:
			continue
		}
		s.keys = append(s.keys, webKey{k.Kid, k.Alg, key})
	}
	if len(s.keys) == 0 {
		return nil, errors.New("it has no key for signatures by RSA, ECDSA or Ed25519")
	}
	return s, nil
}

// An issuer has the keys with which tokens are signed. Those from a URL are fetched again from
// time to time, and when a token names a key that is not among them.
type issuer struct {
	name      string
	discovery string // URL of the document that names the URL of the keys, or ""
	url       string // of the keys; "" if they are in a file, or if the document names it
	refresh   time.Duration
	log       func(string)

	current        atomic.Pointer[keySet] // nil before they were fetched
	loaded, failed atomic.Uint64

	mu    sync.Mutex // held while keys are fetched
	tried time.Time
}

const (
	fetchTime    = 5 * time.Second
	fetchPause   = 10 * time.Second // between two fetches that tokens ask for
	largestKeys  = 1 << 20
	mostRedirect = 3
)

var fetcher = &http.Client{
	Timeout: fetchTime,
	CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > mostRedirect || !private(r.URL) {
			return errors.New("it redirects to another place")
		}
		return nil
	},
}

// private reports whether nobody else can change what is fetched from a URL.
func private(u *url.URL) bool {
	host := u.Hostname()
	return u.Scheme == "https" || u.Scheme == "http" && (host == "localhost" || host == "127.0.0.1" || host == "::1")
}

func get(ctx context.Context, at string) ([]byte, error) {
	u, err := url.Parse(at)
	if err != nil || !private(u) {
		return nil, errors.New("wanted a URL that begins with https://")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	resp, err := fetcher.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s answered %d", at, resp.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, largestKeys+1))
	if err == nil && len(b) > largestKeys {
		err = fmt.Errorf("the answer to GET %s is larger than %d bytes", at, largestKeys)
	}
	return b, err
}

// fetch fetches the keys, unless somebody did that less than pause ago.
func (i *issuer) fetch(ctx context.Context, pause time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if pause > 0 && time.Since(i.tried) < pause {
		return
	}
	i.tried = time.Now()
	keys, err := i.fetched(ctx)
	if err != nil {
		i.failed.Add(1)
		i.log("note: the keys of the issuer of tokens cannot be fetched: " + err.Error())
		return
	}
	i.loaded.Add(1)
	if !reflect.DeepEqual(keys, i.current.Load()) { // tokens that were verified with them stay so
		i.current.Store(keys)
	}
}

func (i *issuer) fetched(ctx context.Context) (*keySet, error) {
	at := i.url
	if i.discovery != "" {
		b, err := get(ctx, i.discovery)
		if err != nil {
			return nil, err
		}
		var doc struct {
			Issuer string `json:"issuer"`
			Keys   string `json:"jwks_uri"`
		}
		if err := json.Unmarshal(b, &doc); err != nil || doc.Keys == "" || doc.Issuer != i.name {
			return nil, fmt.Errorf("%s does not name the issuer and its jwks_uri", i.discovery)
		}
		at = doc.Keys
	}
	b, err := get(ctx, at)
	if err != nil {
		return nil, err
	}
	keys, err := readKeys(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	return keys, nil
}

// follow fetches the keys again and again, until ctx ends.
func (i *issuer) follow(ctx context.Context) {
	for {
		wait := i.refresh
		if i.current.Load() == nil {
			wait = min(wait, fetchPause)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
			i.fetch(ctx, 0)
		}
	}
}

// key returns the key of a token, and those that it is one of. It is nil if there is none, and not
// ready if the keys are not known.
func (i *issuer) key(ctx context.Context, id, algorithm string) (key crypto.PublicKey, of *keySet, ready bool) {
	if keys := i.current.Load(); keys != nil {
		if key := keys.find(id, algorithm); key != nil || i.url == "" && i.discovery == "" {
			return key, keys, true
		}
	}
	i.fetch(context.WithoutCancel(ctx), fetchPause)
	keys := i.current.Load()
	if keys == nil {
		return nil, nil, false
	}
	return keys.find(id, algorithm), keys, true
}
