package release

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/tenon-ml/tenon/stdlib/step"
)

// MostVersions is how many versions a route has at most.
const MostVersions = 16

// A Route chooses versions. It does not change.
type Route struct {
	step.Route
	salts []uint64 // of the names
}

// New checks a route.
func New(r step.Route) (*Route, error) {
	switch {
	case len(r.Versions) == 0:
		return nil, errors.New("a route has no versions")
	case len(r.Versions) > MostVersions:
		return nil, fmt.Errorf("a route has %d versions, at most %d", len(r.Versions), MostVersions)
	}
	route, sum := &Route{Route: r}, 0
	names := map[string]bool{}
	for _, v := range r.Versions {
		switch {
		case v.Name == "":
			return nil, errors.New("a version of a route has no name")
		case names[v.Name]:
			return nil, fmt.Errorf("%s is in the route twice", v.Name)
		case v.Weight < 0 || v.Weight > 100:
			return nil, fmt.Errorf("the weight of %s is %d, wanted 0 to 100", v.Name, v.Weight)
		case !(v.Shadow >= 0 && v.Shadow <= 1): // not NaN either
			return nil, fmt.Errorf("the shadow of %s is %g, wanted 0 to 1", v.Name, v.Shadow)
		}
		names[v.Name] = true
		sum += v.Weight
		route.salts = append(route.salts, hash(offset, v.Name))
	}
	if sum != 100 {
		return nil, fmt.Errorf("the weights are %d together, wanted 100", sum)
	}
	return route, nil
}

// Random chooses a version by the weights.
func (r *Route) Random() int {
	if len(r.Versions) == 1 {
		return 0
	}
	n := rand.IntN(100)
	for i, v := range r.Versions {
		if n -= v.Weight; n < 0 {
			return i
		}
	}
	return 0
}

// Of chooses the version of a key, by the weights: by rendezvous hashing, so that a version whose
// weight grows takes keys of others, and all other keys keep theirs. The choice depends on names
// and weights only. Every process makes the same one, and another version chooses other keys.
func (r *Route) Of(key []byte) int {
	best, least := 0, math.Inf(1)
	for i, v := range r.Versions {
		if v.Weight == 0 {
			continue
		}
		// From above 0 to 1.
		u := (float64(mixed(hash(r.salts[i], key))>>11) + 1) / (1 << 53)
		if at := -math.Log(u) / float64(v.Weight); at < least {
			best, least = i, at
		}
	}
	return best
}

const offset = 14695981039346656037

// hash is FNV-1a.
func hash[T string | []byte](h uint64, b T) uint64 {
	for i := range len(b) {
		h = (h ^ uint64(b[i])) * 1099511628211
	}
	return h
}

// mixed spreads what FNV leaves in the low bits.
func mixed(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
