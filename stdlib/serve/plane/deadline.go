package plane

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
)

// How long a client waits for an answer. Nobody needs one that comes later, so it is not computed.
const (
	timeoutHeader     = "Request-Timeout" // seconds, such as 0.2
	grpcTimeoutHeader = "Grpc-Timeout"    // as gRPC writes it, such as 200m
	longestTimeout    = 24 * time.Hour
	tooLate           = "the request was not computed within its timeout"
)

// deadline returns a context that ends when the client no longer waits. It answers 422 if the
// header is not a number of seconds. A request without the header costs nothing.
func (p *Plane) deadline(x *work, r *http.Request) (context.Context, bool) {
	var within time.Duration
	var ok bool
	if given := r.Header[timeoutHeader]; len(given) > 0 {
		seconds, err := strconv.ParseFloat(given[0], 64)
		if ok = err == nil && seconds > 0 && len(given) == 1; !ok {
			detail(&x.answered, http.StatusUnprocessableEntity, []request.Error{{Type: "value_error", Loc: []any{"header", "request-timeout"},
				Msg: "wanted a number of seconds above 0, such as 0.2"}})
			return nil, false
		}
		within = time.Duration(min(seconds, longestTimeout.Seconds()) * float64(time.Second))
	} else if given := r.Header[grpcTimeoutHeader]; len(given) > 0 && x.answered.protocol == grpcErrors {
		if within, ok = grpcTimeout(given[0]); !ok {
			detail(&x.answered, http.StatusBadRequest, "wanted a timeout of gRPC, such as 200m")
			return nil, false
		}
	} else {
		return r.Context(), true
	}
	ctx, cancel := context.WithTimeout(r.Context(), within)
	x.cancel = cancel
	return ctx, true
}

// grpcTimeout reads at most 8 digits and a unit.
func grpcTimeout(s string) (time.Duration, bool) {
	if len(s) < 2 || len(s) > 9 {
		return 0, false
	}
	units := map[byte]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond}
	unit, known := units[s[len(s)-1]]
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 64)
	if !known || err != nil {
		return 0, false
	}
	if n > uint64(longestTimeout/unit) {
		return longestTimeout, true
	}
	return time.Duration(n) * unit, true
}

// tooLate answers when the context of a request has ended, because its deadline has passed or
// the client has left.
func (p *Plane) tooLate(ctx context.Context, w *answer) {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		detail(w, http.StatusGatewayTimeout, tooLate)
		return
	}
	w.status = clientLeft
}
