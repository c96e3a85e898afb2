package edge

import (
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/edge/keys"
)

// Auth says how callers show who they are, and what they may ask.
type Auth struct {
	Keys Source `json:"keys"`
	JWT  *JWT   `json:"jwt"`
	// Clients are what the owners of client certificates may ask, by name. Without it, all may
	// ask everything.
	Clients map[string][]string `json:"clients"`
	Public  []string            `json:"public"` // scopes of which nobody needs to show who they are
}

// A Caller is who asks.
type Caller struct {
	Name   string // such as "key:mobile"; "" if nobody knows
	Scopes keys.Scopes
}

// A Refusal is an answer to a request that the edge does not let through.
type Refusal struct {
	Status  int
	Says    string
	Reason  Reason
	Headers [][2]string
}

// A Reason is why requests are refused, for metrics.
type Reason int

// The reasons.
const (
	Unidentified Reason = iota
	Forbidden
	TooFast
	TooMany
	UsedUp
	reasons
)

var reasonNames = [reasons]string{"unidentified", "forbidden", "rate", "concurrency", "daily"}

// who finds out who asks.
type who struct {
	list    atomic.Pointer[keys.List] // nil without keys
	tokens  *tokens                   // nil without tokens
	mutual  bool                      // everybody needs a certificate
	clients map[string]keys.Scopes    // nil if all certificates may ask everything
	needed  bool                      // somebody has to say who they are
	public  keys.Scopes
	docs    bool // are public
	schemes string
}

// docsScope is for the description of the service, which everybody reads who may ask something.
const docsScope = "docs"

func newWho(a *Auth, mutual bool, log func(string)) (*who, []*reloaded, error) {
	w := &who{mutual: mutual, needed: a != nil || mutual, schemes: "Bearer"}
	if a == nil {
		return w, nil, nil
	}
	var parts []*reloaded
	if a.Keys.Declared() {
		parts = append(parts, &reloaded{what: "keys", sources: []named{{a.Keys, "API_KEYS"}}, make: func(texts [][]byte) error {
			l, err := keys.Read(texts[0])
			if err == nil {
				w.list.Store(l)
			}
			return err
		}})
	}
	if a.JWT != nil {
		t, part, err := newTokens(*a.JWT, log)
		if err != nil {
			return nil, nil, err
		}
		w.tokens = t
		if part != nil {
			parts = append(parts, part)
		}
	}
	if a.Clients != nil {
		w.clients = map[string]keys.Scopes{}
		for name, scopes := range a.Clients {
			var err error
			if w.clients[name], err = keys.ParseScopes(scopes); err != nil {
				return nil, nil, err
			}
		}
	}
	for _, name := range a.Public {
		if name == docsScope {
			w.docs = true
			continue
		}
		scope, err := keys.ParseScopes([]string{name})
		if err != nil {
			return nil, nil, err
		}
		w.public |= scope
	}
	return w, parts, nil
}

// keyHeader is for clients that cannot send Authorization. HTTP does not distinguish cases.
const keyHeader = "X-Api-Key"

// caller returns who asks, or why that is not known. A request without credentials is of nobody.
func (w *who) caller(r *http.Request, now time.Time) (Caller, *Refusal) {
	var anyone Caller
	if w.mutual {
		name := clientName(r)
		if name == "" {
			return anyone, w.unidentified("a client certificate is needed", "")
		}
		if len(name) > longestClient {
			return anyone, w.unidentified("the name in the certificate is too long", "")
		}
		anyone = Caller{"client:" + name, keys.All}
		if w.clients != nil {
			anyone.Scopes = w.clients[name]
		}
	}
	key, token := sent(r)
	switch {
	case key != "" && token != "":
		return anyone, w.unidentified("send one key or token", "invalid_request")
	case token != "" && w.tokens != nil && strings.Count(token, ".") == 2:
		c, err := w.tokens.caller(r.Context(), token, now)
		if err == errNotReady {
			return c, &Refusal{Status: http.StatusServiceUnavailable, Says: err.Error(), Headers: [][2]string{{"Retry-After", "1"}}}
		}
		if err != nil {
			return c, w.unidentified(err.Error(), "invalid_token")
		}
		return c, nil
	case key != "" || token != "":
		list := w.list.Load()
		if list == nil && w.tokens == nil {
			return anyone, nil // the header says nothing here
		}
		k := list.Find(key + token)
		if k == nil {
			return Caller{}, w.unidentified("the key is not known", "invalid_token")
		}
		return Caller{"key:" + k.Name, k.Scopes}, nil
	}
	return anyone, nil
}

// sent returns the key or the token of a request.
func sent(r *http.Request) (key, token string) {
	if all := r.Header[keyHeader]; len(all) > 0 {
		key = all[0]
	}
	if all := r.Header["Authorization"]; len(all) > 0 {
		const scheme = "bearer "
		if text := all[0]; len(text) > len(scheme) && strings.EqualFold(text[:len(scheme)], scheme) {
			token = strings.TrimSpace(text[len(scheme):])
		} else {
			token = "-" // another scheme, which is no key
		}
	}
	return key, token
}

func (w *who) unidentified(says, fault string) *Refusal {
	challenge := w.schemes
	if fault != "" {
		challenge += ` error="` + fault + `"`
	}
	return &Refusal{Status: http.StatusUnauthorized, Says: says, Reason: Unidentified, Headers: [][2]string{{"WWW-Authenticate", challenge}}}
}

// may returns why a caller may not ask for something, or nil. A scope of 0 is that of the
// description.
func (w *who) may(c Caller, scope keys.Scopes) *Refusal {
	switch {
	case !w.needed || scope == 0 && w.docs || scope != 0 && w.public&scope != 0:
		return nil
	case c.Name == "":
		return w.unidentified("say who you are: send a key or a token", "")
	case scope == 0 && c.Scopes != 0 || c.Scopes&scope != 0:
		return nil
	}
	says := "this caller may ask nothing"
	if scope != 0 {
		says = "the caller lacks the scope " + scope.String()
	}
	return &Refusal{Status: http.StatusForbidden, Says: says, Reason: Forbidden}
}
