package protect_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/internal/protect"
)

func TestIdentity(t *testing.T) {
	github := func(repository, ref string) map[string]string {
		return map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": repository, "GITHUB_REF": ref}
	}
	gitlab := func(more ...string) map[string]string {
		vars := map[string]string{"GITLAB_CI": "true", "CI_PROJECT_PATH": "acme/team/deploy"}
		for i := 0; i < len(more); i += 2 {
			vars[more[i]] = more[i+1]
		}
		return vars
	}
	for _, c := range []struct {
		name string
		vars map[string]string
		want string // "" for an error
	}{
		{"a user", nil, "ann"},
		{"$USER says nothing", map[string]string{"USER": "bob", "LOGNAME": "bob"}, "ann"},
		{"variables without a CI", map[string]string{"GITHUB_REPOSITORY": "acme/deploy", "GITHUB_REF": "refs/heads/main"}, "ann"},
		{"a branch in GitHub", github("acme/deploy", "refs/heads/main"), "ci:acme/deploy@main"},
		{"a branch with a slash", github("acme/deploy", "refs/heads/fix/main"), "ci:acme/deploy@fix/main"},
		{"a tag that is called as the branch", github("acme/deploy", "refs/tags/main"), "ci:acme/deploy@refs/tags/main"},
		{"a pull request", github("acme/deploy", "refs/pull/7/merge"), "ci:acme/deploy@refs/pull/7/merge"},
		{"a job of GitHub without a repository", github("", "refs/heads/main"), ""},
		{"a job of GitHub without a branch", github("acme/deploy", ""), ""},
		{"a branch in GitLab", gitlab("CI_COMMIT_BRANCH", "main"), "ci:acme/team/deploy@main"},
		{"a tag in GitLab", gitlab("CI_COMMIT_TAG", "main"), "ci:acme/team/deploy@refs/tags/main"},
		{"a merge request", gitlab("CI_MERGE_REQUEST_REF_PATH", "refs/merge-requests/1/head"), "ci:acme/team/deploy@refs/merge-requests/1/head"},
		{"a job of GitLab without a branch", gitlab(), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := protect.Identity(func(name string) (string, bool) { v, ok := c.vars[name]; return v, ok }, "ann")
			if (err != nil) != (c.want == "") || got != c.want {
				t.Errorf("got %q and %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestForbids(t *testing.T) {
	holidays := protect.Window{From: "2026-12-24T00:00:00Z", To: "2027-01-02T00:00:00Z", Reason: "holidays"}
	zoned := protect.Window{From: "2026-12-24T00:00:00+01:00", To: "2026-12-24T12:00:00+01:00"}
	for _, c := range []struct {
		name  string
		rules *protect.Rules
		by    string
		now   string
		want  string // parts of the reasons; "" if it is allowed
	}{
		{"no rules", nil, "bob", "2026-12-25T00:00:00Z", ""},
		{"anybody", &protect.Rules{}, "bob", "2026-12-25T00:00:00Z", ""},
		{"one of them", &protect.Rules{Who: []string{"ann", "bob"}}, "bob", "2026-12-25T00:00:00Z", ""},
		{"none of them", &protect.Rules{Who: []string{"ann", "ci:a/b@main"}}, "bob", "2026-12-25T00:00:00Z", "you are bob, but only ann, ci:a/b@main may change it"},
		{"another branch", &protect.Rules{Who: []string{"ci:a/b@main"}}, "ci:a/b@main2", "2026-12-25T00:00:00Z", "you are ci:a/b@main2"},
		{"a second before", &protect.Rules{Freeze: []protect.Window{holidays}}, "bob", "2026-12-23T23:59:59Z", ""},
		{"when it begins", &protect.Rules{Freeze: []protect.Window{holidays}}, "bob", "2026-12-24T00:00:00Z", "it is frozen until 2027-01-02T00:00:00Z: holidays"},
		{"its last second", &protect.Rules{Freeze: []protect.Window{holidays}}, "bob", "2027-01-01T23:59:59Z", "frozen"},
		{"when it ends", &protect.Rules{Freeze: []protect.Window{holidays}}, "bob", "2027-01-02T00:00:00Z", ""},
		{"in another time zone, within", &protect.Rules{Freeze: []protect.Window{zoned}}, "bob", "2026-12-23T23:30:00Z", "frozen until 2026-12-24T12:00:00+01:00"},
		{"in another time zone, after", &protect.Rules{Freeze: []protect.Window{zoned}}, "bob", "2026-12-24T11:00:00Z", ""},
		{"the second of two", &protect.Rules{Freeze: []protect.Window{zoned, holidays}}, "bob", "2026-12-30T00:00:00Z", "holidays"},
		{"both", &protect.Rules{Who: []string{"ann"}, Freeze: []protect.Window{holidays}}, "bob", "2026-12-30T00:00:00Z", "you are bob, but only ann may change it; it is frozen"},
		{"a time that is none allows nothing", &protect.Rules{Freeze: []protect.Window{{From: "x", To: "y"}}}, "bob", "2026-12-30T00:00:00Z", `"x" is not a time`},
		{"a freeze that was lifted", (&protect.Rules{Freeze: []protect.Window{holidays}}).Unfrozen(), "bob", "2026-12-30T00:00:00Z", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			now, err := time.Parse(time.RFC3339, c.now)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(c.rules.Forbids(c.by, now), "; ")
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestOthers(t *testing.T) {
	all := func(by ...string) (as []protect.Approval) {
		for _, b := range by {
			as = append(as, protect.Approval{By: b})
		}
		return as
	}
	for _, c := range []struct {
		name      string
		all, want []protect.Approval
	}{
		{"none", nil, nil},
		{"one's own does not count", all("ann"), nil},
		{"that of another", all("ann", "bob"), all("bob")},
		{"one person counts once", all("bob", "bob"), all("bob")},
		{"a CI job is another", all("ci:a/b@main"), all("ci:a/b@main")},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, protect.Others(c.all, "ann")); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestNeeded(t *testing.T) {
	if n := protect.Needed(nil, &protect.Rules{Approvals: 2}, &protect.Rules{Approvals: 1}); n != 2 {
		t.Errorf("%d approvals, want those of the strictest rules", n)
	}
}
