package ir

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"unicode"
)

// Parts is what a unit gets of the GPUs of a pool: Count times a device, a number of
// shares of a device, or a slice.
type Parts struct {
	Count int64
	Each  int64  // the size of each, in parts of a device
	Slice string // which slice, or ""
}

// Total returns the number of parts of the pool.
func (p Parts) Total() int64 { return p.Count * p.Each }

// PerDevice returns how many parts of a kind each device of the pool has. A device that
// is lent whole is one part.
func (p *Pool) PerDevice(slice string) int64 {
	for _, s := range p.Slices {
		if s.Name == slice {
			return s.Count
		}
	}
	if slice != "" || len(p.Slices) > 0 {
		return 0
	}
	return max(p.Shares, 1)
}

// Lends returns how many parts the pool has in total. Guarantees are counted in these
// parts.
func (p *Pool) Lends() int64 {
	var each int64
	for _, s := range p.Slices {
		each += s.Count
	}
	if len(p.Slices) == 0 {
		each = p.PerDevice("")
	}
	return each * p.GPU
}

// Team returns the team of that name, or nil.
func (p *Pool) Team(name string) *Team {
	for i := range p.Teams {
		if p.Teams[i].Name == name {
			return &p.Teams[i]
		}
	}
	return nil
}

// Parts returns what a unit with these needs gets of the pool's GPUs, or what the pool
// has instead, worded to follow "it has". If the needs specify memory, these are devices
// with at least that much, the smallest sufficient slice, or as many shares of one device
// as are sufficient. Otherwise they are whole devices.
func (p *Pool) Parts(need Resources) (parts Parts, has string) {
	parts = Parts{Count: need.GPU, Each: 1}
	switch {
	case need.GPU == 0:
		return Parts{}, ""
	case p.GPU == 0:
		return parts, "no GPU"
	case need.GPUModel != "" && p.GPUModel != need.GPUModel:
		if p.GPUModel == "" {
			return parts, "GPUs without a declared model"
		}
		return parts, fmt.Sprintf("GPUs of model %q", p.GPUModel)
	case len(p.Slices) > 0:
		return p.slicesFor(need)
	case need.GPUSlice != "":
		return parts, "GPUs that are not sliced"
	case need.GPUMemory > 0 && p.GPUMemory == 0:
		return parts, "GPUs whose memory is not declared"
	case need.GPUMemory > p.GPUMemory:
		return parts, fmt.Sprintf("GPUs of %s each", FormatSize(p.GPUMemory))
	}
	each := p.PerDevice("")
	parts.Each = each
	if need.GPUMemory > 0 && p.Shares > 0 {
		parts.Each = sharesFor(need.GPUMemory, p.GPUMemory, p.Shares)
	}
	if most := p.GPU * (each / parts.Each); parts.Count > most {
		if p.Shares > 0 && parts.Each < each {
			return parts, fmt.Sprintf("%d GPUs, each with room for %d of them", p.GPU, each/parts.Each)
		}
		return parts, Count(p.GPU, "GPU")
	}
	return parts, ""
}

// Lend is [Pool.Parts] limited by the unit's team. A job may exceed the guarantee of its
// team, if the team borrows; a service may not, because it stays. A unit without a team
// has no guarantee, and may borrow.
func (p *Pool) Lend(u *Unit) (parts Parts, has string) {
	parts, has = p.Parts(u.Draws())
	if has != "" || u.Needs.GPU == 0 || u.Team == "" && len(p.Teams) == 0 {
		return parts, has
	}
	t := p.Team(u.Team)
	switch {
	case t == nil && u.Team != "" && len(p.Teams) == 0:
		return parts, "no teams"
	case t == nil && u.Team != "":
		return parts, fmt.Sprintf("no team %s", u.Team)
	case t == nil && u.Kind == Service:
		return parts, "teams, and a service with a GPU must belong to one"
	case t == nil:
		return parts, ""
	case parts.Total() > t.GPU && (u.Kind == Service || !t.Borrow):
		return parts, fmt.Sprintf("a guarantee of %d for the team %s", t.GPU, t.Name)
	}
	return parts, ""
}

func (p *Pool) slicesFor(need Resources) (parts Parts, has string) {
	parts = Parts{Count: need.GPU, Each: 1, Slice: need.GPUSlice}
	var names []string
	for _, s := range p.Slices {
		names = append(names, s.Name)
	}
	all := strings.Join(names, " and ")
	if need.GPUSlice == "" && need.GPUMemory == 0 {
		return parts, fmt.Sprintf("slices (%s), which need gpu.slice or gpu.memory", all)
	}
	bySize := slices.SortedStableFunc(slices.Values(p.Slices), func(a, b Slice) int { return int(min(max(a.Memory-b.Memory, -1), 1)) })
	for _, s := range bySize {
		switch {
		case need.GPUSlice != "" && s.Name != need.GPUSlice:
		case need.GPUMemory > s.Memory:
			has = fmt.Sprintf("slices of at most %s", FormatSize(s.Memory))
		case need.GPU > s.Count*p.GPU:
			has = Count(s.Count*p.GPU, "slice") + " " + s.Name
		default:
			parts.Slice = s.Name
			return parts, ""
		}
	}
	if has == "" {
		has = fmt.Sprintf("the slices %s", all)
	}
	return parts, has
}

// ModelWords returns the words of the name of a GPU model, in lower case.
func ModelWords(model string) []string {
	return strings.FieldsFunc(strings.ToLower(model), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// IsModel reports whether the name of a GPU has all words of a declared model: "NVIDIA A10G" is an
// "A10G".
func IsModel(name, declared string) bool {
	has := ModelWords(name)
	return !slices.ContainsFunc(ModelWords(declared), func(w string) bool { return !slices.Contains(has, w) })
}

// sharesFor returns how many shares of a device have that much memory together.
func sharesFor(want, device, shares int64) int64 {
	n := new(big.Int).Mul(big.NewInt(want), big.NewInt(shares))
	n.Add(n, big.NewInt(device-1))
	return n.Div(n, big.NewInt(device)).Int64()
}

// Count formats a number of things: "1 GPU", "2 GPUs".
func Count(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
