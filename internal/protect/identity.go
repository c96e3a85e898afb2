package protect

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
)

// Identity returns who runs this program: "ci:PROJECT@BRANCH" in a job of GitHub Actions or
// GitLab CI, else the name of the user. Jobs for a tag or a merge request have a full reference
// instead of a branch, so that no tag is taken for a branch.
func Identity(lookup func(string) (string, bool), username string) (string, error) {
	get := func(name string) string {
		v, _ := lookup(name)
		return v
	}
	var project, ref string
	switch {
	case get("GITHUB_ACTIONS") == "true":
		project, ref = get("GITHUB_REPOSITORY"), strings.TrimPrefix(get("GITHUB_REF"), "refs/heads/")
	case get("GITLAB_CI") == "true":
		project = get("CI_PROJECT_PATH")
		switch {
		case get("CI_COMMIT_BRANCH") != "":
			ref = get("CI_COMMIT_BRANCH")
		case get("CI_COMMIT_TAG") != "":
			ref = "refs/tags/" + get("CI_COMMIT_TAG")
		default:
			ref = get("CI_MERGE_REQUEST_REF_PATH")
		}
	default:
		return username, nil
	}
	if project == "" || ref == "" {
		return "", fmt.Errorf("this is a CI job, but its variables do not name its project and branch")
	}
	return "ci:" + project + "@" + ref, nil
}

// User returns the name of the user of this process, as the system knows it. $USER plays no
// part.
func User() string {
	uid := os.Getuid()
	if uid < 0 { // this system has no numbers of users
		if u, err := user.Current(); err == nil {
			return u.Username
		}
	}
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return "uid:" + strconv.Itoa(uid)
}
