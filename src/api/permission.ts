/** What a route needs. A route that does not say it is refused to everybody: forgetting it must not open a door. */
import { SetMetadata } from '@nestjs/common';

/** `public`: nobody has to say who they are. `read` and `write`: some table; which one is checked where its name is known. */
export type Permission = 'public' | 'read' | 'write' | 'admin';

const PERMISSION = Symbol('permission');

/** On a method, or on a controller for all its methods without one of their own. It is stored on each method, so a route's handler is all one needs to look it up. */
export function Needs(permission: Permission): MethodDecorator & ClassDecorator {
  const set = SetMetadata(PERMISSION, permission);
  return <T>(target: object, key?: string | symbol, descriptor?: TypedPropertyDescriptor<T>): void => {
    if (key !== undefined && descriptor) {
      set(target, key, descriptor);
      return;
    }
    for (const method of methodsOf(target)) if (permissionOf(method) === undefined) Reflect.defineMetadata(PERMISSION, permission, method);
  };
}

/** What a method, or a handler made from it, needs. Undefined if the method is not one of the product's routes. */
export function permissionOf(method: object): Permission | undefined {
  return Reflect.getMetadata(PERMISSION, method) as Permission | undefined;
}

function methodsOf(target: object): object[] {
  const { prototype } = target as { readonly prototype: object };
  const values = Object.values(Object.getOwnPropertyDescriptors(prototype)).map(({ value }) => value as unknown);
  return values.filter((value) => typeof value === 'function');
}
