package edge

import (
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tenon-ml/tenon/internal/duration"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/edge/keys"
)

// JWT says which JSON Web Tokens are taken.
type JWT struct {
	Issuer     string   `json:"issuer"`
	Audience   string   `json:"audience"`
	JWKS       Source   `json:"jwks"` // the keys, or their URL; without it, the issuer says where they are
	Algorithms []string `json:"algorithms"`
	Leeway     string   `json:"leeway"`
	Refresh    string   `json:"refresh"`
	Identity   string   `json:"identity"` // claim with the name of the caller
	ScopeClaim string   `json:"scope_claim"`
	// Scopes are what the token calls the scopes, if it is not their names.
	Scopes map[string]string `json:"scopes"`
}

// mayUse are the algorithms that a deployment may list: none with a shared secret.
var mayUse = map[string]bool{
	"RS256": true, "RS384": true, "RS512": true, "PS256": true, "PS384": true, "PS512": true,
	"ES256": true, "ES384": true, "ES512": true, "EdDSA": true,
}

// tokens verifies tokens. Verifying a signature takes longer than a prediction, so it is done
// once for a token.
type tokens struct {
	config JWT
	issuer *issuer
	parser *jwt.Parser
	leeway time.Duration
	scopes map[string]keys.Scopes

	mu   sync.Mutex
	of   *keySet // with which seen were verified
	seen [2]map[[sha256.Size]byte]verified
}

type verified struct {
	caller          Caller
	begins, expires time.Time
}

// mostSeen is how many verified tokens are kept at least. Up to twice as many are.
const mostSeen = 10000

// Longest texts of a token.
const (
	longestToken  = 16 << 10
	longestClient = 256
)

func newTokens(c JWT, log func(string)) (*tokens, *reloaded, error) {
	t := &tokens{config: c, leeway: duration.Parse(c.Leeway), scopes: map[string]keys.Scopes{}}
	if t.config.Identity == "" {
		t.config.Identity = "sub"
	}
	if t.config.ScopeClaim == "" {
		t.config.ScopeClaim = "scope"
	}
	if c.Issuer == "" || c.Audience == "" || len(c.Algorithms) == 0 {
		return nil, nil, errors.New("tokens need an issuer, an audience and algorithms")
	}
	for _, a := range c.Algorithms {
		if !mayUse[a] {
			return nil, nil, errors.New("tokens may not be signed by " + a)
		}
	}
	for i, name := range keys.Names {
		as := name
		if other := c.Scopes[name]; other != "" {
			as = other
		}
		t.scopes[as] |= 1 << i
	}
	t.parser = jwt.NewParser(jwt.WithValidMethods(c.Algorithms), jwt.WithIssuer(c.Issuer), jwt.WithAudience(c.Audience),
		jwt.WithExpirationRequired(), jwt.WithLeeway(t.leeway))
	t.issuer = &issuer{name: c.Issuer, refresh: duration.Parse(c.Refresh), log: log}
	if t.issuer.refresh <= 0 {
		t.issuer.refresh = 10 * time.Minute
	}
	switch at := c.JWKS.Path; {
	case !c.JWKS.Declared():
		t.issuer.discovery = strings.TrimSuffix(c.Issuer, "/") + "/.well-known/openid-configuration"
	case strings.Contains(at, "://"):
		t.issuer.url = at
	default:
		r := &reloaded{what: "jwks", sources: []named{{c.JWKS, "JWKS"}}}
		r.make = func(texts [][]byte) error {
			set, err := readKeys(texts[0])
			if err == nil {
				t.issuer.current.Store(set)
			}
			return err
		}
		return t, r, nil
	}
	return t, nil, nil
}

var (
	errNotReady = errors.New("tokens cannot be verified now: the keys of their issuer are not known")
	errExpired  = errors.New("the token has expired")
	errToken    = errors.New("the token is not valid here")
)

// caller returns who a token is of.
func (t *tokens) caller(ctx context.Context, token string, now time.Time) (Caller, error) {
	if len(token) > longestToken {
		return Caller{}, errToken
	}
	sum := sha256.Sum256([]byte(token))
	if v, ok := t.known(sum); ok {
		switch {
		case now.After(v.expires):
			return Caller{}, errExpired
		case now.Before(v.begins):
			return Caller{}, errToken
		}
		return v.caller, nil
	}
	ready := true
	var used *keySet
	claims := jwt.MapClaims{}
	_, err := t.parser.ParseWithClaims(token, claims, func(x *jwt.Token) (any, error) {
		if _, ok := x.Header["crit"]; ok {
			return nil, errToken // something that has to be understood, and is not
		}
		id, ok := x.Header["kid"].(string)
		if _, given := x.Header["kid"]; given && !ok {
			return nil, errToken
		}
		var key crypto.PublicKey
		if key, used, ready = t.issuer.key(ctx, id, x.Method.Alg()); key == nil {
			return nil, errToken
		}
		return key, nil
	})
	switch {
	case !ready:
		return Caller{}, errNotReady
	case errors.Is(err, jwt.ErrTokenExpired):
		return Caller{}, errExpired
	case err != nil:
		return Caller{}, errToken
	}
	name, _ := claims[t.config.Identity].(string)
	if name == "" || len(name) > longestClient {
		return Caller{}, errToken
	}
	v := verified{caller: Caller{Name: "jwt:" + name, Scopes: t.granted(claims[t.config.ScopeClaim])}}
	// The parser has read these.
	ends, _ := claims.GetExpirationTime()
	v.expires = ends.Add(t.leeway)
	if begins, _ := claims.GetNotBefore(); begins != nil {
		v.begins = begins.Add(-t.leeway)
	}
	t.remember(sum, v, used)
	return v.caller, nil
}

// granted returns the scopes of a claim: a text with spaces, as OAuth has it, or a list.
func (t *tokens) granted(claim any) (may keys.Scopes) {
	switch claim := claim.(type) {
	case string:
		for name := range strings.FieldsSeq(claim) {
			may |= t.scopes[name]
		}
	case []any:
		for _, x := range claim {
			if name, ok := x.(string); ok {
				may |= t.scopes[name]
			}
		}
	}
	return may
}

// known returns a token that was verified with the keys that the issuer has now.
func (t *tokens) known(sum [sha256.Size]byte) (verified, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of != t.issuer.current.Load() {
		return verified{}, false
	}
	v, ok := t.seen[0][sum]
	if !ok {
		if v, ok = t.seen[1][sum]; ok {
			t.add(sum, v)
		}
	}
	return v, ok
}

func (t *tokens) remember(sum [sha256.Size]byte, v verified, used *keySet) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of != used {
		t.of, t.seen = used, [2]map[[sha256.Size]byte]verified{}
	}
	t.add(sum, v)
}

// add keeps a token. Those that nobody has sent for long go first.
func (t *tokens) add(sum [sha256.Size]byte, v verified) {
	if t.seen[0] == nil || len(t.seen[0]) >= mostSeen {
		t.seen[0], t.seen[1] = map[[sha256.Size]byte]verified{}, t.seen[0]
	}
	t.seen[0][sum] = v
}
