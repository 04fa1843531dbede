import tseslint from 'typescript-eslint';

/** Which layer may import which: only those to its left. See docs/ARCHITECTURE.md. */
const LAYERS = ['common', 'infra', 'metadata', 'tables', 'data', 'query', 'cluster', 'backup', 'auth', 'health'];

const importRules = LAYERS.map((layer, index) => ({
  files: [`src/${layer}/**/*.ts`],
  rules: {
    'no-restricted-imports': [
      'error',
      {
        patterns: LAYERS.slice(index + 1).map((later) => ({
          group: [`**/${later}/*`, `**/${later}/**`],
          message: `${layer} must not know ${later}`,
        })),
      },
    ],
  },
}));

export default tseslint.config(
  { ignores: ['dist', 'node_modules', 'bench', 'demo', 'scripts', 'test', '**/*.spec.ts', '**/*.contract.ts'] },
  ...tseslint.configs.recommendedTypeChecked,
  ...tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/no-inferrable-types': 'off',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/dot-notation': 'off',
    },
  },
  ...importRules,
);
