// What `docker compose config` does, without Docker: reads Compose files as one project in the working directory, with the variables of the
// environment, checks it against the
// specification and prints it. Fails with what is wrong.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	options, err := cli.NewProjectOptions(os.Args[1:], cli.WithWorkingDirectory("."), cli.WithOsEnv, cli.WithProfiles([]string{"*"}), cli.WithConsistency(true))
	if err == nil {
		project, loadErr := options.LoadProject(context.Background())
		err = loadErr
		if err == nil {
			var text []byte
			text, err = project.MarshalJSON()
			fmt.Println(string(text))
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
